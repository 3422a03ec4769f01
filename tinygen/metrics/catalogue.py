"""The catalogue of metrics: label, unit, and whether higher or lower is better.

Names are those of the scalars that `training_step` and `evaluate` return, of scores and of `verify`.
"""

import functools
import math
import re
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric's label and unit, and which direction is better."""

    label: str
    unit: str = ""
    better: Literal["up", "down"] | None = None
    """Which direction is better; None if neither is, as for the loss of a discriminator."""
    baseline_of: str = ""
    """The metric whose value for a trivial baseline this is, which a system returns beside its own."""

    def __str__(self) -> str:
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better than another; False for NaN, and where `better` is None."""
        return value > than if self.better == "up" else value < than if self.better == "down" else False

    def format(self, value: float | None) -> str:
        """Label, value and unit as text, such as -ELBO 104 nats."""
        return " ".join(part for part in (self.label, format_number(value), self.unit) if part)


METRICS: dict[str, Metric] = {
    # Likelihoods and bounds
    "neg_elbo_nats": Metric("-ELBO", "nats", "down"),
    "reconstruction_nats": Metric("reconstruction", "nats"),
    "kl_nats": Metric("KL", "nats"),
    "kl_weight": Metric("weight of the KL in the loss"),
    "neg_is{n}_nats": Metric("-log p, bound by {n} samples", "nats", "down"),
    "neg_elbo_bits_per_dim": Metric("-ELBO", "bits per dimension", "down"),
    "neg_is{n}_bits_per_dim": Metric("-log p, bound by {n} samples", "bits per dimension", "down"),
    # Likelihoods and bounds of a density p(x), not comparable with those of probabilities
    "neg_elbo_density_nats": Metric("-ELBO of a density", "nats", "down"),
    "reconstruction_density_nats": Metric("reconstruction by a density", "nats"),
    "neg_is{n}_density_nats": Metric("-log density, bound by {n} samples", "nats", "down"),
    "active_units": Metric("active units"),
    "nll_density_nats": Metric("-log density", "nats", "down"),
    "data_kl_nats": Metric("KL from the density of the data", "nats", "down"),
    "flow_nll_nats": Metric("-log p by the flow", "nats", "down"),
    "flow_nll_bits_per_dim": Metric("-log p by the flow", "bits per dimension", "down"),
    "flow_nll_density_nats": Metric("-log density by the flow", "nats", "down"),
    "bits_over_normal": Metric("log p above a unit normal distribution", "bits", "up"),
    "prediction_error": Metric("squared error of the prediction per dimension", "", "down"),
    "collapsed_count": Metric("collapsed components"),
    "free_energy_gap_nats": Metric("free energy of images above that of the chains", "nats"),
    "neg_pseudo_log_likelihood_nats": Metric("-log pseudo-likelihood", "nats", "down"),
    "log_z_nats": Metric("log Z", "nats"),
    "log_z_error_nats": Metric("standard error of log Z", "nats"),
    "codebook_perplexity": Metric("perplexity of the codebook", "", "up"),
    "guess_nats": Metric("-log p by the plain network", "nats", "down"),
    "nll_nats": Metric("-log p", "nats", "down"),
    "nats_per_pixel": Metric("-log p", "nats per pixel", "down"),
    "nats_per_sample": Metric("-log p", "nats per sample", "down"),
    "nats_per_frame": Metric("-log p", "nats per predicted frame", "down"),
    "perplexity": Metric("perplexity per token", "", "down"),
    "perplexity_bound": Metric("perplexity per token, upper bound", "", "down"),
    "bits_per_dim": Metric("-log p", "bits per dimension", "down"),
    "parzen_log_likelihood_nats": Metric("Parzen window log-likelihood", "nats", "up"),
    # Reconstructions and codes
    "cross_entropy_nats": Metric("cross-entropy", "nats", "down"),
    "squared_error_per_pixel": Metric("squared error per pixel", "", "down"),
    "denoised_cross_entropy_nats": Metric("cross-entropy, denoised", "nats", "down"),
    "denoised_squared_error_per_pixel": Metric("squared error per pixel, denoised", "", "down"),
    "feature_distance": Metric("distance of activations in the feature network", "", "down"),
    "feature_error_nats": Metric("reconstruction error in the discriminator's features", "nats"),
    "feature_loss": Metric("loss by the feature network", "", "down"),
    "error_rate": Metric("error rate", "", "down"),
    "class_cross_entropy_nats": Metric("cross-entropy of the class", "nats", "down"),
    "precision_at_10": Metric("share of the class among the ten best", "", "up"),
    "probe_error_rate": Metric("error rate of a linear probe", "", "down"),
    "mean_activity": Metric("mean activity of the code's units"),
    "sparsity_nats": Metric("divergence of mean activities from the wanted one", "nats", "down"),
    "jacobian_norm": Metric("norm of the encoder's Jacobian", "", "down"),
    "code_moment_distance": Metric("distance of the codes' moments from the prior's", "", "down"),
    # Codes of data whose factors are known
    "higgins_score": Metric("Higgins score", "", "up"),
    "mutual_information_gap": Metric("mutual information gap", "", "up"),
    # Translations of images, and trivial ones: the input itself, one value for all pixels, one for each place or colour
    **{
        f"{prefix}{name}": replace(
            metric, label=f"{metric.label}{words}", baseline_of="" if prefix in ("", "reverse_") else name
        )
        for name, metric in {
            "psnr_db": Metric("PSNR", "dB", "up"),
            "absolute_error_per_pixel": Metric("absolute error per pixel", "", "down"),
            "ssim": Metric("SSIM", "", "up"),
            "chroma_error": Metric("squared error of the chroma", "", "down"),
            "mean_iou": Metric("mean intersection over union", "", "up"),
            "pixel_accuracy": Metric("share of pixels of the right class", "", "up"),
        }.items()
        for prefix, words in {
            "": "",
            "reverse_": " of the reverse direction",
            "copy_": " of the input itself",
            "constant_": " of the best constant",
            "position_": " of the mean target",
            "table_": " of the best function of a pixel's colour",
        }.items()
    },
    # Enlarged images, and the baseline of bicubic interpolation
    "ssim": Metric("SSIM", "", "up"),
    "luma_psnr_db": Metric("PSNR of the luma", "dB", "up"),
    "luma_ssim": Metric("SSIM of the luma", "", "up"),
    "bicubic_psnr_db": Metric("PSNR by bicubic interpolation", "dB", "up", baseline_of="psnr_db"),
    "bicubic_ssim": Metric("SSIM by bicubic interpolation", "", "up", baseline_of="ssim"),
    "bicubic_luma_psnr_db": Metric("PSNR of the luma by bicubic interpolation", "dB", "up", baseline_of="luma_psnr_db"),
    "bicubic_luma_ssim": Metric("SSIM of the luma by bicubic interpolation", "", "up", baseline_of="luma_ssim"),
    "cycle_error_per_pixel": Metric("absolute error per pixel, there and back", "", "down"),
    "identity_error_per_pixel": Metric("absolute error per pixel of translating the target itself", "", "down"),
    "cycle_noise_gain": Metric("noise on a translation, amplified on the way back", "times"),
    "copy_distance": Metric("absolute difference of a translation from its input"),
    "generator_squares": Metric("generators' loss, squares"),
    "discriminator_squares": Metric("discriminators' loss, squares"),
    # Images that take the shape of another one, and trivial ones
    **{
        f"{prefix}{name}": replace(
            metric, label=f"{metric.label}{words}", baseline_of=name if prefix == "copy_" else ""
        )
        for name, metric in {
            "shape_iou": Metric("intersection over union with the asked shape", "", "up"),
            "colour_distance": Metric("distance of the mean colours of parts", "", "down"),
            "own_shape_error_per_pixel": Metric("absolute error per pixel of images in their own shape", "", "down"),
        }.items()
        for prefix, words in {
            "": "",
            "copy_": ", of the input itself",
            "donor_": ", of the image whose shape was asked for",
            "fill_": ", of parts filled with their mean colour",
        }.items()
    },
    # Layers of images, and their masks
    "foreground_iou": Metric("intersection over union of the gate with the true mask", "", "up"),
    "foreground_kl_nats": Metric("KL of the foreground's code", "nats"),
    "background_kl_nats": Metric("KL of the background's code", "nats"),
    "mask_cross_entropy_nats": Metric("cross-entropy of the mask", "nats", "down"),
    "pixel_cross_entropy_nats": Metric("cross-entropy of a pixel's class", "nats", "down"),
    # Adversarial models, in which neither loss alone says how good a model is. `made` examples are the fake ones
    "discriminator_nats": Metric("discriminator loss", "nats"),
    "generator_nats": Metric("generator loss", "nats"),
    "discriminator_cost": Metric("discriminator's cost"),
    "generator_cost": Metric("generator's cost"),
    "mean_feature_distance": Metric("squared distance of mean features of real and fake examples"),
    "discriminator{n}_nats": Metric("discriminator loss at {n} rows of pixels", "nats"),
    "generator{n}_nats": Metric("generator loss at {n} rows of pixels", "nats"),
    "real_accuracy_rate": Metric("discriminator's accuracy on real examples"),
    "made_accuracy_rate": Metric("discriminator's accuracy on samples"),
    "made_class_nats": Metric("cross-entropy of the class, of samples", "nats"),
    "encoder_nats": Metric("encoder loss", "nats"),
    "code_information_nats": Metric("information of samples on their categories, lower bound", "nats", "up"),
    "code_squared_error": Metric("squared error of codes recovered from samples", "", "down"),
    "purity": Metric("share of the most frequent class in each category", "", "up"),
    "critic_distance": Metric("critic's estimate of W1"),
    "gradient_norm": Metric("norm of the gradient of critic or discriminator"),
    "gradient_penalty": Metric("gradient penalty"),
    # Images whose age is changed, by refined codes and by an encoder alone
    **{
        f"{prefix}{name}": Metric(f"{label}{words}", "", "up")
        for name, label in {"age_rate": "share of the asked age", "identity_rate": "share of kept identities"}.items()
        for prefix, words in {"": "", "encoder_": ", by the encoder alone"}.items()
    },
    "wrong_accuracy_rate": Metric("discriminator's accuracy on wrong captions"),
    "caption_effect": Metric("change of a sample by another caption, relative to that by caption and noise"),
    "noise_effect": Metric("change of a sample by other noise, relative to that by caption and noise"),
    # Samples
    "alike_pairs_rate": Metric("share of pairs nearly alike, above that of real examples", "", "down"),
    "alike_pairs_given_rate": Metric("share of pairs of one condition nearly alike", "", "down"),
    "w1_distance": Metric("W1 to real examples", "", "down"),
    "modes_count": Metric("modes", "", "up"),
    "high_quality_rate": Metric("share of samples of high quality", "", "up"),
    "pixel_covariance_correlation": Metric("correlation of pixel covariances with real ones", "", "up"),
    "pixel_value_distance": Metric("W1 of the values of pixels to real ones", "", "down"),
    "pixel_density": Metric("density, by distances of pixels", "", "up"),
    "pixel_coverage": Metric("coverage, by distances of pixels", "", "up"),
    "asked_class_rate": Metric("share of samples nearest to the asked class", "", "up"),
    # Samples for captions
    "colour_right_rate": Metric("share of samples with all colours of the caption", "", "up"),
    "shape_right_rate": Metric("share of samples with all shapes of the caption", "", "up"),
    "place_right_rate": Metric("share of samples with shapes placed as in the caption", "", "up"),
    "caption_right_rate": Metric("share of samples with colours, shapes and place of the caption", "", "up"),
    "shuffled_caption_right_rate": Metric("share of samples with colours, shapes and place of another caption"),
    # Samples scored by judges; memorisation is best where it equals that of real images
    "judges_agree": Metric("judges agree", "", "up"),
    "label_agreement": Metric("asked label", "", "up"),
    "class_kept_rate": Metric("class kept by reconstructions", "", "up"),
    "frechet": Metric("Frechet", "", "down"),
    "frechet_over_floor": Metric("Frechet over floor", "", "down"),
    "density": Metric("density", "", "up"),
    "coverage": Metric("coverage", "", "up"),
    "label_distance": Metric("label distance", "", "down"),
    "classes": Metric("classes", "", "up"),
    "memorisation": Metric("memorisation"),
}
"""Metrics by name; ``{n}`` stands for a whole number in a name and its label. Models from outside the package may add
their own."""


def find(name: str) -> Metric | None:
    """The entry of a metric in the catalogue; None if there is none."""
    if exact := METRICS.get(name):
        return exact
    for pattern, metric in METRICS.items():
        if "{n}" in pattern and (match := _compiled(pattern).fullmatch(name)):
            return replace(metric, label=metric.label.replace("{n}", match[1]))
    return None


def describe(name: str) -> Metric:
    """The entry of a metric. If the catalogue lacks it, its name is the label, and no direction is better."""
    return find(name) or Metric(name.replace("_", " "))


def format_number(value: float | None) -> str:
    """A number as text: four significant digits, two decimals from 100 on, none for a whole number; "n/a" for None."""
    if value is None or not math.isfinite(value):
        return "n/a"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\{n\}", r"(\d+)"))
