"""Systems of two players: a generator, and a discriminator or critic."""
