"""Classifiers on an encoder: building, running over a store, saving, loading."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save
from torch import nn

from jepalib.data.sampling import evaluation_batches
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.models.encoded import Encoded, join
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.heads import ClassAttentionHead, Classifier, LinearHead, MLPHead
from jepalib.models.pooling import jet_vector, pool
from jepalib.schema import CLASSES
from jepalib.training.config import config_from_dict
from jepalib.training.runs import provenance, write_atomically

HEADS = {"mlp": MLPHead, "linear": LinearHead, "class-attention": ClassAttentionHead}
BATCH = 512  # jets per batch where no gradient is needed


@dataclass(frozen=True)
class ClassifierConfig:
    """What a saved classifier is rebuilt from.

    Attributes:
        encoder: its architecture.
        head: one of `HEADS`.
        classes: names of the scores, in order.
        micro_batch: jets that go through the encoder together.
    """

    encoder: EncoderConfig
    head: str
    classes: tuple[str, ...] = CLASSES
    micro_batch: int = 32


def build(config: ClassifierConfig, encoder: nn.Module | None = None) -> Classifier:
    """A classifier with a fresh head, on a fresh encoder or on the one given."""
    if config.head not in HEADS:
        raise JepalibError(f"head '{config.head}' is not one of {', '.join(HEADS)}")
    encoder = encoder or build_encoder(config.encoder, config.micro_batch)
    width = encoder.width if config.head == "class-attention" else encoder.jet_width
    return Classifier(encoder, HEADS[config.head](width, len(config.classes)))


def save_classifier(folder: Path, classifier: Classifier, config: ClassifierConfig, notes: dict) -> None:
    """Configuration, provenance and weights into a folder, the weights last."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"config": asdict(config), "notes": notes, "made": provenance()}
    write_atomically(folder / "classifier.json", json.dumps(about, indent=2) + "\n")
    weights = {k: v.detach().cpu().contiguous() for k, v in classifier.state_dict().items()}
    temporary = folder / ".weights.tmp"
    temporary.write_bytes(save(weights))
    temporary.replace(folder / "weights.safetensors")


def load_classifier(folder: Path) -> tuple[Classifier, ClassifierConfig]:
    """A saved classifier in evaluation mode.

    Raises:
        JepalibError: there is none in this folder, or its configuration is foreign.
    """
    file = Path(folder) / "classifier.json"
    if not file.is_file() or not (Path(folder) / "weights.safetensors").is_file():
        here = sorted(f.parent.name for f in Path(folder).glob("models/*/classifier.json"))
        hint = f"it has models/: {', '.join(here)}" if here else "jepalib adapt writes them to OUT/models/…"
        raise JepalibError(f"{folder} holds no classifier; {hint}")
    config = config_from_dict(ClassifierConfig, json.loads(file.read_text())["config"], str(file))
    classifier = build(config)
    classifier.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return classifier.eval(), config


def untrained_encoder(config: EncoderConfig, store: JetStore, seed: int, micro_batch: int = 128) -> nn.Module:
    """An encoder with random weights, the reference for what training adds.

    Its normalisations have the statistics of jets (without labels or gradient), as they have from
    the first steps of a training on: with their initial ones the physics bias would be nearly off.
    """
    torch.manual_seed(seed)
    encoder = build_encoder(config, micro_batch).train()
    rows = np.asarray(store.rows("train"))
    rows = np.random.default_rng(seed).choice(rows, min(BATCH, len(rows)), replace=False)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # one batch replaces what was there
    with torch.no_grad():
        encoder(store.read(np.sort(rows)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return encoder.eval()


@dataclass(frozen=True)
class EncodedJets:
    """What a frozen encoder makes of jets: encode once, train heads often.

    Attributes:
        labels, index: as in `Jets`.
        encoded: the tokens if they were asked for, and one vector per jet as `cls`
            (`pooling.jet_vector`, so that jet heads read it whatever the encoder is).
        pooled: `pooling.pool`, what linear probes see.
    """

    labels: Int[torch.Tensor, " jets"]
    index: Int[torch.Tensor, " jets"]
    encoded: Encoded
    pooled: Float[torch.Tensor, "jets features"]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Int[torch.Tensor, " chosen"]) -> EncodedJets:
        """The jets of the given places."""
        return EncodedJets(self.labels[rows], self.index[rows], self.encoded.take(rows), self.pooled[rows])

    def to(self, device: torch.device | str) -> EncodedJets:
        """The same on another device."""
        labels, index = self.labels.to(device), self.index.to(device)
        return EncodedJets(labels, index, self.encoded.to(device), self.pooled.to(device))


@torch.no_grad()
def encode(
    encoder: nn.Module,
    store: JetStore,
    rows: np.ndarray | range,
    device: torch.device,
    tokens: bool = False,
) -> EncodedJets:
    """The given rows, in their order, through a frozen encoder.

    Args:
        tokens: keep every token's representation too (for heads that attend to them).
    """
    encoder.eval()
    rows = np.asarray(rows)
    order, parts, pooled = [], [], []
    for places, batch in evaluation_batches(store, rows, BATCH):
        encoded = encoder(batch.to(device)).float()
        pooled.append(pool(encoded).cpu())
        kept = encoded.tokens if tokens else encoded.tokens[:0]
        offsets = encoded.offsets if tokens else torch.zeros_like(encoded.offsets)
        parts.append(Encoded(kept, jet_vector(encoded), offsets).to("cpu"))
        order.append(torch.from_numpy(places))
    if not order:
        raise JepalibError(f"{store.path}: no jets to encode")
    inverse = torch.argsort(torch.cat(order))
    labels = torch.from_numpy(np.asarray(store.labels[rows], np.int64))
    index = torch.from_numpy(rows.copy())
    return EncodedJets(labels, index, join(parts).take(inverse), torch.cat(pooled)[inverse])


@torch.no_grad()
def probabilities(
    classifier: Classifier, store: JetStore, rows: np.ndarray | range, device: torch.device
) -> Float[np.ndarray, "jets classes"]:
    """Class probabilities of the given rows, in their order."""
    classifier.eval()
    scores = None
    for places, batch in evaluation_batches(store, rows, BATCH):
        batch_scores = classifier(batch.to(device)).float().softmax(dim=1).cpu().numpy()
        if scores is None:
            scores = np.empty((len(rows), batch_scores.shape[1]), np.float32)
        scores[places] = batch_scores
    if scores is None:
        raise JepalibError(f"{store.path}: no jets to classify")
    return scores
