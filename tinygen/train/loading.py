"""The model and the data of a run, made again from what it recorded."""

from tinygen import backend, data, models, random
from tinygen.data import Dataset
from tinygen.models import GenerativeModel
from tinygen.train import Run
from tinygen.train.record import recorded_config, recorded_spec, refuse_changed_data


def model_of(run: Run, device: str = "auto") -> GenerativeModel:
    """The model of a run before it is loaded, on the device that is asked for; auto: on the one it was trained on."""
    model_class = models.get(run.config["model"])
    config, spec = recorded_config(run, model_class.Config), recorded_spec(run)
    random.seed(run.config["fit"]["seed"])  # a run that was stopped before its first checkpoint begins again
    return model_class(config, spec, backend.select_device(run.config["device"] if device == "auto" else device))


def data_of(run: Run) -> Dataset:
    """The data of a run; DataError where they are not what they were."""
    source = run.config.get("source", {"data": run.config["data"]["spec"]["name"], "skip_broken": False})
    dataset = data.load(source["data"], skip_broken=source["skip_broken"])
    if how := getattr(recorded_spec(run).fields.get("x"), "binarisation", None):
        dataset = dataset.binarised(how)
    refuse_changed_data(run, dataset)
    return dataset
