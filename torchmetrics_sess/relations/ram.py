"""RelateAnything (RAM, 2023): a two-layer transformer that reads predicates off the mask tokens of Segment Anything."""

from __future__ import annotations

import dataclasses
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import pad

from torchmetrics_sess.config import setting
from torchmetrics_sess.precision import Precision
from torchmetrics_sess.relations.vocabulary import PREDICATES
from torchmetrics_sess.stages import Relations, Segmentation
from torchmetrics_sess.weights import WEIGHTS, fetch, sha256_of

# What the header of a file calls the one size that no tensor tells.
_HEADS = "num_attention_heads"


@dataclass(frozen=True)
class RamRelationConfig:
    """Which of the triplets (subject, predicate, object) of an image stay.

    Args:
        candidates: how many of the highest-scoring triplets of an image are looked at.
        keep_always: how many of them stay whatever their score.
        min_score: probability that every further one must reach.
        drop_last: drop the last triplet that passed ``min_score``, as the released code does. Its hyper-parameters were
            tuned with this off-by-one.
        dtype: what the layers of the network compute in.
        checkpoint: path of a network of your own, such as ``sess relations train`` writes; by default, the released
            one. It must read the tokens that the segmenter gives. A signature names it by its content.

    Raises:
        ValueError: if a count or the probability is out of range.
    """

    kind: ClassVar[str] = "ram"

    candidates: int = setting(100, short="top")
    keep_always: int = setting(20, short="keep")
    min_score: float = setting(0.05, short="min")
    drop_last: bool = setting(True, short="drop")
    dtype: Precision = setting("float32", short="")
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.checkpoint is not None and not Path(self.checkpoint).is_file():
            raise ValueError(
                f"`checkpoint` must be the path of a relation head, and there is no file {self.checkpoint}"
            )
        if self.candidates < 1:
            raise ValueError(f"`candidates` must be at least 1, got {self.candidates}")
        if not 0 <= self.keep_always <= self.candidates:
            raise ValueError(
                f"`keep_always` must lie between 0 and `candidates` ({self.candidates}), got {self.keep_always}"
            )
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"`min_score` must be a probability in [0, 1], got {self.min_score}")

    def weights(self) -> list[str]:
        """Return the name of the released checkpoint, unless another one is used."""
        return ["ram"] if self.checkpoint is None else []

    def digests(self) -> list[str]:
        """Return the digest of the checkpoint."""
        if self.checkpoint is None:
            return [WEIGHTS["ram"].sha256[:8]]
        return [sha256_of(self.checkpoint)[:8]]

    def build(self, device: torch.device) -> RamRelationModel:
        """Load the checkpoint, frozen, on ``device``, fetching the released one if it is not on this machine."""
        settings = dataclasses.asdict(self) | {"dtype": getattr(torch, self.dtype)}
        path = settings.pop("checkpoint") or fetch("ram")
        return RamRelationModel(RelationHead.from_checkpoint(path).to(device), **settings)


class RelationHead(nn.Module):
    """The network of RelateAnything: how strongly each predicate holds between each ordered pair of objects.

    ``tokens → Linear, LayerNorm → two BERT layers → Linear, LayerNorm → subject and object vectors per predicate``,
    whose scaled dot products are the logits. Parameters are frozen, carry the names of the released checkpoint, and
    default to its sizes. By default there is no dropout, so that training mode changes nothing.

    Args:
        input_size: length of a mask token.
        hidden_size: width of the transformer.
        num_attention_heads: heads of each of its layers.
        intermediate_size: width of its feed-forward blocks.
        feature_size: length of the subject and object vectors.
        vocab_size: rows of the word embedding, which is part of the checkpoint but never read.
        max_position_embeddings: rows of the position embedding.
        type_vocab_size: rows of the token type embedding.
        dropout: share of activations that training mode drops in the transformer.

    Raises:
        ValueError: if ``hidden_size`` is not a multiple of ``num_attention_heads``.

    Examples:
        >>> import torch
        >>> head = RelationHead(
        ...     input_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=32, feature_size=4, vocab_size=2
        ... )
        >>> head(torch.randn(1, 3, 8), torch.ones(1, 3, dtype=torch.bool)).shape
        torch.Size([1, 56, 3, 3])
    """

    def __init__(
        self,
        input_size: int = 256,
        hidden_size: int = 768,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        feature_size: int = 512,
        vocab_size: int = 30522,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        dropout: float = 0.0,
    ) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        self.input_size = input_size
        self.num_attention_heads = num_attention_heads
        self.feature_size = feature_size
        self.fc_input = nn.Sequential(nn.Linear(input_size, hidden_size), nn.LayerNorm(hidden_size))
        self.fc_output = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.LayerNorm(hidden_size))
        self.model = BertModel(
            BertConfig(
                vocab_size=vocab_size,
                hidden_size=hidden_size,
                num_hidden_layers=2,
                num_attention_heads=num_attention_heads,
                intermediate_size=intermediate_size,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                max_position_embeddings=max_position_embeddings,
                type_vocab_size=type_vocab_size,
            ),
            add_pooling_layer=False,
        )
        self.cls_sub = nn.Linear(hidden_size, len(PREDICATES) * feature_size)
        self.cls_obj = nn.Linear(hidden_size, len(PREDICATES) * feature_size)
        self.eval().requires_grad_(False)

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, num_attention_heads: int | None = None, *, dropout: float = 0.0
    ) -> RelationHead:
        """Load a checkpoint such as the released ``ram_epoch12.pth``; all other sizes are read off its tensors.

        Args:
            path: a file that ``save`` wrote, or a state dictionary that ``torch.save`` wrote. Tensors that the network
                has no use for, the BERT pooler and the ``position_ids`` buffer, may be in it.
            num_attention_heads: heads of each transformer layer, which no tensor tells; by default as many as the file
                says, or 12.
            dropout: as for the class.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds anything but tensors, or not the tensors of this network.
        """
        tensors, heads = _read(Path(path))
        tensors = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.startswith("model.pooler.") and not name.endswith(".position_ids")
        }
        try:
            head = cls(
                input_size=tensors["fc_input.0.weight"].shape[-1],
                hidden_size=tensors["fc_input.0.weight"].shape[0],
                num_attention_heads=num_attention_heads or heads,
                intermediate_size=tensors["model.encoder.layer.0.intermediate.dense.weight"].shape[0],
                feature_size=tensors["cls_sub.weight"].shape[0] // len(PREDICATES),
                vocab_size=tensors["model.embeddings.word_embeddings.weight"].shape[0],
                max_position_embeddings=tensors["model.embeddings.position_embeddings.weight"].shape[0],
                type_vocab_size=tensors["model.embeddings.token_type_embeddings.weight"].shape[0],
                dropout=dropout,
            )
        except KeyError as error:
            raise ValueError(f"{path} is not a RelateAnything checkpoint: tensor {error} is missing") from error
        problems = _differences(tensors, head.state_dict())
        if problems:
            raise ValueError(f"{path} is not a RelateAnything checkpoint: {'; '.join(problems)}")
        head.load_state_dict(tensors)
        return head

    def save(self, path: str | Path) -> None:
        """Write the weights and the number of attention heads as one safetensors file, which appears whole.

        Args:
            path: of the file, ending in ``.safetensors``.

        Raises:
            ValueError: for another ending.
        """
        from safetensors.torch import save

        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(f"`path` must end in .safetensors, got {path}")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(save(tensors, metadata={_HEADS: str(self.num_attention_heads)}))
        part.replace(path)

    @torch.no_grad()
    def forward(
        self,
        tokens: Float[Tensor, "b k d"],
        valid: Bool[Tensor, "b k"],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "b p k k"]:
        """Do what ``logits`` does, without gradients."""
        return self.logits(tokens, valid, dtype)

    def logits(
        self,
        tokens: Float[Tensor, "b k d"],
        valid: Bool[Tensor, "b k"],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "b p k k"]:
        """Return the logit of every (predicate, subject, object), diagonal included.

        Args:
            tokens: descriptors of the objects, padded to a common number.
            valid: which slots hold an object; what the others hold, if finite, changes nothing for these.
            dtype: ``torch.bfloat16`` runs the layers in that precision. Surrounding autocast has no say.

        Returns:
            float32 logits, ``[b, 56, k, k]``; arbitrary where a padded slot takes part.

        Raises:
            ValueError: if the tokens are not of the length that the network was made for.
        """
        b, k = valid.shape
        if tokens.shape[-1] != self.input_size:
            raise ValueError(
                f"`tokens` must hold {self.input_size} numbers per object, as the segmenter that this network was "
                f"trained with gives, got {tokens.shape[-1]}"
            )
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            hidden = self.model(
                inputs_embeds=self.fc_input(tokens.float()),
                attention_mask=valid.long(),
                # The released network was trained with the position of every object set to 1, so that order is no cue.
                position_ids=torch.ones(1, k, dtype=torch.long, device=tokens.device),
                token_type_ids=torch.zeros(b, k, dtype=torch.long, device=tokens.device),
            ).last_hidden_state
            hidden = self.fc_output(hidden)
            vectors = [
                linear(hidden).unflatten(-1, (len(PREDICATES), self.feature_size)).transpose(1, 2)
                for linear in (self.cls_sub, self.cls_obj)
            ]
        # Triplets are ranked by these products: in bfloat16, many of them would tie.
        with torch.autocast(tokens.device.type, enabled=False):
            subject, obj = (vector.float() for vector in vectors)
            logits: Tensor = subject @ obj.mT / math.sqrt(self.feature_size)
        return logits


class RamRelationModel(nn.Module):
    """Predicates between masks from their tokens, as the released code of RelateAnything selects them.

    A relation model in the sense of ``torchmetrics_sess.stages.RelationModel``. Of all triplets of an image the
    ``candidates`` most probable are ranked; the first ``keep_always`` stay, and those that follow while they reach
    ``min_score``. Objects that no triplet names leave the graph, unless there is no triplet at all. Every ordered pair
    carries its most probable triplet. Equal probabilities rank in the order of (predicate, subject, object).

    Args:
        head: the network.
        candidates: see ``RamRelationConfig``, as for the next three.
        keep_always: triplets that stay whatever their score.
        min_score: probability that every further one must reach.
        drop_last: drop the last triplet that passed, as the released code does.
        dtype: ``torch.bfloat16`` runs the layers of the network in that precision.
        scores_per_chunk: how many triplets are scored at once, at least those of one image; bounds memory.

    Raises:
        ValueError: if a setting is out of range; on a call, if a segmentation has no tokens.

    Examples:
        >>> import torch
        >>> from torchmetrics_sess.stages import Segmentation
        >>> head = RelationHead(
        ...     input_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=32, feature_size=4, vocab_size=2
        ... )
        >>> segmentation = Segmentation(
        ...     masks=torch.ones(1, 3, 4, 4, dtype=torch.bool),
        ...     valid=torch.tensor([[True, True, False]]),
        ...     tokens=torch.randn(1, 3, 8),
        ... )
        >>> (relations,) = RamRelationModel(head)([segmentation])
        >>> relations.valid.tolist(), relations.relation[0, 0, 2].item()
        ([[True, True, False]], -1)
    """

    def __init__(
        self,
        head: RelationHead,
        *,
        candidates: int = 100,
        keep_always: int = 20,
        min_score: float = 0.05,
        drop_last: bool = True,
        dtype: torch.dtype = torch.float32,
        scores_per_chunk: int = 2**24,
    ) -> None:
        super().__init__()
        if scores_per_chunk < 1:
            raise ValueError(f"`scores_per_chunk` must be at least 1, got {scores_per_chunk}")
        self.head = head
        name: Precision = "bfloat16" if dtype == torch.bfloat16 else "float32"
        self.config = RamRelationConfig(candidates, keep_always, min_score, drop_last, name)
        self.dtype = dtype
        self.scores_per_chunk = scores_per_chunk

    @torch.no_grad()
    def forward(self, segmentations: list[Segmentation]) -> list[Relations]:
        """Relate the objects of every segmentation."""
        slots = [segmentation.valid.shape[1] for segmentation in segmentations]
        widest = max(slots, default=0)
        tokens, valid = [], []
        for segmentation, k in zip(segmentations, slots, strict=True):
            if segmentation.tokens is None:
                raise ValueError("`segmentations` must carry mask tokens, which this segmenter does not give")
            tokens.append(pad(segmentation.tokens, (0, 0, 0, widest - k)))
            valid.append(pad(segmentation.valid, (0, widest - k)))
        if not tokens:
            return []

        images_per_chunk = max(1, self.scores_per_chunk // (len(PREDICATES) * widest**2))
        chunks = zip(*(torch.split(torch.cat(part), images_per_chunk) for part in (tokens, valid)), strict=True)
        selected = [_select(self.head(*chunk, dtype=self.dtype), chunk[1], self.config) for chunk in chunks]

        images = [len(segmentation.valid) for segmentation in segmentations]
        relation, confidence, nodes = (torch.split(torch.cat(part), images) for part in zip(*selected, strict=True))
        return [
            Relations(relation[i][:, :k, :k], confidence[i][:, :k, :k], nodes[i][:, :k]) for i, k in enumerate(slots)
        ]

    @torch.no_grad()
    def probabilities(self, segmentation: Segmentation) -> Float[Tensor, "b p k k"]:
        """Return the probability of every triplet (predicate, subject, object), kept or not.

        Raises:
            ValueError: if the segmentation has no tokens.
        """
        if segmentation.tokens is None:
            raise ValueError("`segmentation` must carry mask tokens, which this segmenter does not give")
        logits: Tensor = self.head(segmentation.tokens, segmentation.valid, dtype=self.dtype)
        return logits.sigmoid()


def _read(path: Path) -> tuple[dict[str, Tensor], int]:
    """Return the tensors of a checkpoint, and the number of attention heads that it names, else the published one."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            with safe_open(str(path), framework="pt") as file:
                heads = int((file.metadata() or {}).get(_HEADS, 12))
                return {name: file.get_tensor(name) for name in file.keys()}, heads  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is not a file of plain tensors, and is not loaded: {error}") from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a file of plain tensors, and is not loaded: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path} is not a state dictionary: it must map parameter names to tensors")
    return tensors, 12


def _select(
    logits: Float[Tensor, "b p k k"], valid: Bool[Tensor, "b k"], config: RamRelationConfig
) -> tuple[Int64[Tensor, "b k k"], Float[Tensor, "b k k"], Bool[Tensor, "b k"]]:
    """Return the relation and confidence of every ordered pair, and the objects that stay."""
    others = ~torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    pairs = valid[:, :, None] & valid[:, None, :] & others
    scores = logits.sigmoid().masked_fill(~pairs[:, None], -1.0)

    # A score in [0, 1] orders like its bits. With the position of the triplet below them no two keys are equal, so that
    # `topk`, which breaks ties as it likes, has none to break.
    position = torch.arange(scores[0].numel(), device=scores.device).view(scores.shape[1:])
    keys = (scores.view(torch.int32).long() << 32) - position
    count = min(config.candidates, position.numel())
    top_keys, top = keys.flatten(1).topk(count)
    passing = (scores.flatten(1).gather(1, top)[:, config.keep_always :] >= config.min_score).sum(1)
    kept = config.keep_always + (passing - int(config.drop_last)).clamp(min=0)

    # Kept triplets are all those from some key on, so a pair is named if the best of its own is among them.
    best, predicate = keys.max(1)
    lowest = top_keys.gather(1, (kept.clamp(1, count) - 1)[:, None])
    named = pairs & (best >= lowest[:, :, None]) & (kept > 0)[:, None, None]
    confidence = scores.amax(1).masked_fill(~named, -1.0)
    involved = named.any(1) | named.any(2)
    return predicate.masked_fill(~named, -1), confidence, torch.where(involved.any(1, keepdim=True), involved, valid)


def _differences(got: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """Say how two state dictionaries differ in names and shapes."""
    shapes = {name: list(tensor.shape) for name, tensor in expected.items()}
    problems = [f"`{name}` is missing" for name in shapes if name not in got]
    problems += [f"`{name}` is unknown" for name in got if name not in shapes]
    problems += [
        f"`{name}` is {list(got[name].shape)}, not {shape}"
        for name, shape in shapes.items()
        if name in got and list(got[name].shape) != shape
    ]
    return problems
