"""The systems by name, grouped by family: where the class of each is, which is imported when it is asked for.

A class from outside the package is named by its file: my_vae.py:MyVAE.
"""

import ast
import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygen.errors import UsageError


def docstring(documented: Any) -> str:
    """The docstring of a class or function; from its source where Python has dropped it (PYTHONOPTIMIZE=2)."""
    if sys.flags.optimize < 2:
        return inspect.cleandoc(documented.__doc__ or "")
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(documented))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return ""
    return ast.get_docstring(definition) or ""  # type: ignore[arg-type]


def first_line(documented: Any) -> str:
    """The first line of a docstring."""
    return docstring(documented).strip().partition("\n")[0]


FAMILIES: dict[str, dict[str, str]] = {
    "autoencoders": {
        "ae": "tinygen.models.autoencoders.autoencoder:Autoencoder",
        "dae": "tinygen.models.autoencoders.autoencoder:DenoisingAutoencoder",
        "sparse-ae": "tinygen.models.autoencoders.sparse:SparseAutoencoder",
        "contractive-ae": "tinygen.models.autoencoders.contractive:ContractiveAutoencoder",
        "aae": "tinygen.models.autoencoders.aae:AAE",
    },
    "variational": {
        "vae": "tinygen.models.variational.vae:VAE",
        "cvae": "tinygen.models.variational.cvae:CVAE",
        "structured-cvae": "tinygen.models.variational.structured_cvae:StructuredCVAE",
        "m2": "tinygen.models.variational.m2:M2",
        "m1-m2": "tinygen.models.variational.m1_m2:M1M2",
        "iaf-vae": "tinygen.models.variational.iaf_vae:IAFVAE",
        "sentence-vae": "tinygen.models.variational.sentence_vae:SentenceVAE",
        "attribute-vae": "tinygen.models.variational.attribute_vae:AttributeVAE",
        "vq-vae": "tinygen.models.variational.vq_vae:VQVAE",
        "dfc-vae": "tinygen.models.variational.dfc_vae:DFCVAE",
        "vae-gan": "tinygen.models.variational.vae_gan:VAEGAN",
    },
    "mixtures": {
        "gmm": "tinygen.models.mixtures.gmm:GMM",
    },
    "energy": {
        "rbm": "tinygen.models.energy.rbm:RBM",
        "dbm": "tinygen.models.energy.dbm:DBM",
        "gsn": "tinygen.models.energy.gsn:GSN",
    },
    "autoregressive": {
        "made": "tinygen.models.autoregressive.made:MADE",
        "pixelcnn": "tinygen.models.autoregressive.pixelcnn:PixelCNN",
        "gated-pixelcnn": "tinygen.models.autoregressive.pixelcnn:GatedPixelCNN",
        "pixelcnn-pp": "tinygen.models.autoregressive.pixelcnn_pp:PixelCNNPP",
        "row-lstm": "tinygen.models.autoregressive.pixelrnn:RowLSTMPixelRNN",
        "diagonal-bilstm": "tinygen.models.autoregressive.pixelrnn:DiagonalBiLSTMPixelRNN",
        "pixel-lstm": "tinygen.models.autoregressive.pixel_lstm:PixelLSTM",
        "wavenet": "tinygen.models.autoregressive.wavenet:WaveNet",
        "vpn": "tinygen.models.autoregressive.vpn:VPN",
        "lstm-lm": "tinygen.models.autoregressive.lstm_lm:LSTMLM",
    },
    "diffusion": {
        "diffusion": "tinygen.models.diffusion.diffusion:Diffusion",
        "ddpm": "tinygen.models.diffusion.ddpm:DDPM",
        "flow-matching": "tinygen.models.diffusion.flow_matching:FlowMatching",
    },
    "flows": {
        "realnvp": "tinygen.models.flows.realnvp:RealNVP",
        "maf": "tinygen.models.flows.maf:MAF",
    },
    "translation": {
        "unet": "tinygen.models.translation.unet:UNetTranslator",
        "srgan": "tinygen.models.translation.srgan:SRGAN",
        "pix2pix": "tinygen.models.translation.pix2pix:Pix2Pix",
        "cyclegan": "tinygen.models.translation.cyclegan:CycleGAN",
        "shape-transfer": "tinygen.models.translation.shape_transfer:ShapeTransfer",
        "pose-transfer": "tinygen.models.translation.shape_transfer:PoseTransfer",
    },
    "adversarial": {
        "gan": "tinygen.models.adversarial.gan:GAN",
        "dcgan": "tinygen.models.adversarial.dcgan:DCGAN",
        "cdcgan": "tinygen.models.adversarial.dcgan:ConditionalDCGAN",
        "age-cgan": "tinygen.models.adversarial.age_cgan:AgeCGAN",
        "acgan": "tinygen.models.adversarial.acgan:ACGAN",
        "infogan": "tinygen.models.adversarial.infogan:InfoGAN",
        "bigan": "tinygen.models.adversarial.bigan:BiGAN",
        "lapgan": "tinygen.models.adversarial.lapgan:LAPGAN",
        "wgan": "tinygen.models.adversarial.wgan:WGAN",
        "wgan-gp": "tinygen.models.adversarial.wgan:WGANGP",
        "improved-gan": "tinygen.models.adversarial.improved_gan:ImprovedGAN",
        "text-gan": "tinygen.models.adversarial.text_gan:TextGAN",
    },
    "features": {
        "features": "tinygen.models.features.classifier:Features",
    },
}
PLACES = {name: place for family in FAMILIES.values() for name, place in family.items()}
"""The module and the class of each name."""


def names() -> list[str]:
    """Names of the systems, as the command line takes them: family by family."""
    return list(PLACES)


def get(name: str) -> type[Any]:
    """The class of a system, by its name or as FILE.py:CLASS.

    UsageError if there is none, with near matches, if the file cannot be imported, or if the class lacks
    something that every system has.
    """
    if name in PLACES:
        module, _, class_name = PLACES[name].partition(":")
        return getattr(importlib.import_module(module), class_name)
    if ".py" in name:
        return _from_file(name)
    near = difflib.get_close_matches(name, PLACES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}, and FILE.py:CLASS for your own"
    raise UsageError(f"unknown model {name!r}: {hint}")


def place_of(system: type[Any]) -> dict[str, str] | None:
    """The place of a class from outside the package, for config.json; None for one of the package or without a file.

    `class`: FILE.py:CLASS, by its absolute path. `sha256`: of the file.
    """
    if PLACES.get(getattr(system, "name", "")) == f"{system.__module__}:{system.__qualname__}":
        return None
    try:
        file = Path(inspect.getfile(system)).resolve()
    except (TypeError, OSError):  # defined in a notebook or an interpreter
        return None
    if not file.exists() or "<locals>" in system.__qualname__:
        return None
    return {"class": f"{file}:{system.__qualname__}", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


# A class from outside the package


def _from_file(name: str) -> type[Any]:
    path, _, class_name = name.rpartition(":") if not name.endswith(".py") else (name, "", "")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(f"{path}: there is no such file; name the model's class as FILE.py:CLASS")
    module = _imported(file.resolve(), hashlib.sha256(file.read_bytes()).hexdigest())
    if not class_name:
        choices = " or ".join(f"{path}:{each}" for each in _classes_in(module)) or "it defines no class"
        raise UsageError(f"{path}: say which class of it: {choices}")
    system = getattr(module, class_name, None)
    if not isinstance(system, type):
        choices = ", ".join(_classes_in(module)) or "none"
        raise UsageError(f"{path} defines no class {class_name!r}; its classes: {choices}")
    if lacking := _lacking(system):
        raise UsageError(f"{path}: class {class_name} {lacking} (README, 'To add a model')")
    return system


@functools.cache
def _imported(file: Path, digest: str) -> ModuleType:
    """The module in a file of these contents; UsageError in one line for whatever goes wrong in it."""
    name = f"tinygen_user_{file.stem}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader, "the name ends in .py"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with _importable(file.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{file} cannot be imported: {_where(error, file)}; correct it") from error
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """A context in which files beside the imported one can be imported, as when Python runs it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def _where(error: BaseException, file: Path) -> str:
    """The error, and the last line of the file that was running."""
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{type(error).__name__}{f' in line {line}' if line else ''}: {error}"


def _classes_in(module: ModuleType) -> list[str]:
    return [
        name for name, each in vars(module).items() if isinstance(each, type) and each.__module__ == module.__name__
    ]


def _lacking(system: type[Any]) -> str | None:
    """What a class lacks to be a system; None if it lacks nothing."""
    if not hasattr(system, "state_dict"):
        return "is no tinygen.models.System: derive it from that"
    for name, what in (("training_step", "method training_step(self, batch)"), ("evaluate", "method evaluate")):
        method = getattr(system, name, None)
        if method is None or getattr(method, "__isabstractmethod__", False):
            return f"has no {what}"
    if not isinstance(getattr(system, "needs", None), dict):
        return "does not say what data it needs, such as needs = {'x': Image(kind='binary')}"
    config = getattr(system, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        return "has no dataclass Config"
    from_loader = getattr(getattr(system, "source", None), "__qualname__", "System.source") == "System.source"
    if from_loader and "batch_size" not in config.__dataclass_fields__:
        return "has a Config without batch_size"
    return None
