"""The networks of ``segment_anything``, on their own weights, with the same sums grouped so that there are fewer.

Every function here computes what the module that it is given computes, up to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.modeling.image_encoder import Attention as SelfAttention
from segment_anything.modeling.image_encoder import get_rel_pos, window_partition, window_unpartition
from segment_anything.modeling.transformer import Attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

# Positions bias every pair of image tokens. Of the 2**24 biases of global attention, so many are held at once per head.
_BIASES_AT_ONCE = 2**22


def encode_images(
    encoder: ImageEncoderViT, pixels: Float[Tensor, "b 3 h w"], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "b d fh fw"]:
    """Return the image embeddings; attention never holds its full matrix of scores.

    Args:
        encoder: the image encoder of a SAM.
        pixels: images as ``segment_anything.modeling.Sam.preprocess`` gives them.
        dtype: ``torch.bfloat16`` runs in that precision.
    """
    with _precision(pixels.device, dtype):
        return _encode_images(encoder, pixels).float()


def _precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def _encode_images(encoder: ImageEncoderViT, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d fh fw"]:
    x = encoder.patch_embed(pixels)
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed
    for block in encoder.blocks:
        hidden = block.norm1(x)
        if block.window_size > 0:
            size = hidden.shape[1:3]
            windows, padded = window_partition(hidden, block.window_size)
            windows = _self_attention(block.attn, windows)
            hidden = window_unpartition(windows, block.window_size, padded, size)
        else:
            hidden = _self_attention(block.attn, hidden)
        x = x + hidden
        x = x + block.mlp(block.norm2(x))
    embeddings: Tensor = encoder.neck(x.permute(0, 3, 1, 2))
    return embeddings


def _self_attention(attention: SelfAttention, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w d"]:
    b, h, w, _ = x.shape
    query, key, value = attention.qkv(x).view(b, h * w, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    if attention.use_rel_pos:
        query = query.unflatten(2, (h, w))
        by_row = torch.einsum("bnhwc,hkc->bnhwk", query, get_rel_pos(h, h, attention.rel_pos_h))
        by_column = torch.einsum("bnhwc,wkc->bnhwk", query, get_rel_pos(w, w, attention.rel_pos_w))
        outputs = []
        step = max(1, _BIASES_AT_ONCE // (w * h * w))
        for block in (slice(start, start + step) for start in range(0, h, step)):
            bias = by_row[:, :, block, :, :, None] + by_column[:, :, block, :, None, :]
            bias = bias.flatten(4).flatten(2, 3)
            outputs.append(scaled_dot_product_attention(query[:, :, block].flatten(2, 3), key, value, attn_mask=bias))
        output = torch.cat(outputs, dim=2)
    else:
        output = scaled_dot_product_attention(query, key, value)
    projected: Tensor = attention.proj(output.transpose(1, 2).reshape(b, h, w, -1))
    return projected


@dataclass(frozen=True, eq=False)
class Answers:
    """What the mask decoder says to each of ``p`` prompts: ``m`` masks, as tokens that have yet to be drawn.

    Args:
        tokens: mask tokens, ``[p, m, d]``.
        predicted_iou: the network's own estimate of each mask's quality, ``[p, m]``.
        image: the image as each prompt has changed it, ``[p, n, d]``.
    """

    tokens: Float[Tensor, "p m d"]
    predicted_iou: Float[Tensor, "p m"]
    image: Float[Tensor, "p n d"]


class PromptDecoder:
    """Answers prompts on one image: points, or boxes.

    The image has thousands of tokens, a prompt has seven. So what the image tokens are multiplied with is folded into
    the prompt's side wherever that is smaller: a head's scores ``(x W_k) · q`` are ``x · (W_kᵀ q)``, and its values
    ``Σ a (x W_v)`` are ``(Σ a x) W_v``. Projections that no prompt has touched yet are computed once per image.

    Args:
        sam: the model.
        embedding: one image's embedding, from ``encode_images``.
        dtype: ``torch.bfloat16`` runs in that precision, all but positions and the predicted IoU.
    """

    def __init__(self, sam: Sam, embedding: Float[Tensor, "d fh fw"], dtype: torch.dtype = torch.float32) -> None:
        self._prompts = sam.prompt_encoder
        self._decoder = sam.mask_decoder
        self._grid = embedding.shape[1:]
        self._dtype = dtype
        self._image = embedding.flatten(1).T + self._prompts.no_mask_embed.weight
        self._position = self._prompts.get_dense_pe()[0].flatten(1).T
        self._placed = self._image + self._position
        first = self._decoder.transformer.layers[0]
        read, write = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        with _precision(embedding.device, dtype):
            self._read_key = _by_head(read.k_proj(self._placed), read)
            self._read_value = _by_head(read.v_proj(self._image), read)
            self._write_query = _by_head(write.q_proj(self._placed), write)

    def answer(self, places: Float[Tensor, "p 2"] | Float[Tensor, "p 4"]) -> Answers:
        """Decode one foreground point, or one box, per prompt.

        Args:
            places: (x, y) of points, or (left, top, right, bottom) of boxes, in pixels of the network's input.
        """
        labels = torch.ones(len(places), 1, dtype=torch.int, device=places.device)
        points, boxes = ((places[:, None], labels), None) if places.shape[1] == 2 else (None, places)
        sparse, _ = self._prompts(points=points, boxes=boxes, masks=None)
        output = torch.cat([self._decoder.iou_token.weight, self._decoder.mask_tokens.weight])
        prompt = torch.cat([output.expand(len(places), -1, -1), sparse], dim=1)
        with _precision(places.device, self._dtype):
            tokens, image = self._transform(prompt)
        # Which masks stay depends on the order of these numbers: in half precision, many would tie.
        predicted_iou = self._decoder.iou_prediction_head(tokens[:, 0].float())
        return Answers(tokens[:, 1:].float(), predicted_iou[:, 1:], image)

    def draw(
        self, answers: Answers, prompt: Int64[Tensor, " k"], slot: Int64[Tensor, " k"]
    ) -> Float[Tensor, "k rows columns"]:
        """Return the low-resolution logits of some masks.

        Args:
            answers: what ``answer`` gave.
            prompt: which prompt each mask belongs to, ascending.
            slot: which of that prompt's masks it is.
        """
        prompts, position = torch.unique_consecutive(prompt, return_inverse=True)
        image = answers.image[prompts].transpose(1, 2).unflatten(2, self._grid)
        tokens = answers.tokens[prompts]
        # The first network draws the single mask.
        networks = self._decoder.output_hypernetworks_mlps[1:]
        with _precision(image.device, self._dtype):
            upscaled = self._decoder.output_upscaling(image)
            kernels = torch.stack([network(tokens[:, i]) for i, network in enumerate(networks)], dim=1)
            logits: Tensor = kernels @ upscaled.flatten(2)
        return logits[position, slot].float().view(len(slot), *upscaled.shape[2:])

    def _transform(self, prompt: Float[Tensor, "p t d"]) -> tuple[Float[Tensor, "p used d"], Float[Tensor, "p n d"]]:
        """Run the transformer: return the tokens of the predicted IoU and of the masks, and the image per prompt."""
        transformer = self._decoder.transformer
        tokens, image, placed = prompt, self._image, self._placed
        for i, layer in enumerate(transformer.layers):
            if layer.skip_first_layer_pe:
                tokens = layer.norm1(layer.self_attn(q=tokens, k=tokens, v=tokens))
            else:
                query = tokens + prompt
                tokens = layer.norm1(tokens + layer.self_attn(q=query, k=query, v=tokens))

            read, write = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
            query = tokens + prompt
            found = self._read_untouched(read, query) if i == 0 else _read(read, query, image, placed)
            tokens = layer.norm2(tokens + found)
            tokens = layer.norm3(tokens + layer.mlp(tokens))

            key = tokens + prompt
            scores = self._score_untouched(write, key) if i == 0 else _score(write, key, placed)
            image = layer.norm4(_write(write, scores, tokens, image))
            placed = image + self._position

        # The last attention serves only the tokens that are read out: neither the prompt's nor that of the single mask.
        used = [0, *range(2, 1 + self._decoder.num_mask_tokens)]
        tokens = tokens[:, used]
        found = _read(transformer.final_attn_token_to_image, tokens + prompt[:, used], image, placed)
        return transformer.norm_final_attn(tokens + found), image

    def _read_untouched(self, attention: Attention, tokens: Float[Tensor, "p t d"]) -> Float[Tensor, "p t d"]:
        query = _by_head(attention.q_proj(tokens).flatten(0, 1), attention) / _temperature(attention)
        mixed = (query @ self._read_key.mT).softmax(dim=-1) @ self._read_value
        found: Tensor = attention.out_proj(mixed.transpose(0, 1).reshape(*tokens.shape[:2], -1))
        return found

    def _score_untouched(self, attention: Attention, tokens: Float[Tensor, "p t d"]) -> Float[Tensor, "p heads t n"]:
        key = _by_head(attention.k_proj(tokens).flatten(0, 1), attention) / _temperature(attention)
        scores = key @ self._write_query.mT
        return scores.view(len(scores), *tokens.shape[:2], -1).transpose(0, 1)


def _read(
    attention: Attention,
    tokens: Float[Tensor, "p t d"],
    image: Float[Tensor, "p n d"],
    placed: Float[Tensor, "p n d"],
) -> Float[Tensor, "p t d"]:
    """Let tokens attend to image tokens; ``placed`` is ``image`` plus its positions."""
    heads = attention.num_heads
    query = attention.q_proj(tokens).unflatten(-1, (heads, -1)) / _temperature(attention)
    folded = torch.einsum("pthc,hcd->phtd", query, attention.k_proj.weight.unflatten(0, (heads, -1)))
    # What image tokens have in common adds the same to all scores of a token, as the bias of the keys does. The softmax
    # sees neither, but large scores would be rounded more coarsely.
    distinct = placed - placed.mean(dim=1, keepdim=True)
    weights = (folded.flatten(1, 2) @ distinct.mT).softmax(dim=-1)
    mixed = (weights @ image).view_as(folded)
    values = torch.einsum("phtd,hcd->pthc", mixed, attention.v_proj.weight.unflatten(0, (heads, -1)))
    found: Tensor = attention.out_proj(values.flatten(2) + attention.v_proj.bias)
    return found


def _score(
    attention: Attention, tokens: Float[Tensor, "p t d"], placed: Float[Tensor, "p n d"]
) -> Float[Tensor, "p heads t n"]:
    """Return the scores of image tokens attending to tokens."""
    heads = attention.num_heads
    key = attention.k_proj(tokens).unflatten(-1, (heads, -1)) / _temperature(attention)
    folded = torch.einsum("pthc,hcd->phtd", key, attention.q_proj.weight.unflatten(0, (heads, -1)))
    offset = torch.einsum("pthc,hc->pht", key, attention.q_proj.bias.unflatten(0, (heads, -1)))
    return (folded.flatten(1, 2) @ placed.mT).view(*offset.shape, -1) + offset[..., None]


def _write(
    attention: Attention,
    scores: Float[Tensor, "p heads t n"],
    tokens: Float[Tensor, "p t d"],
    image: Float[Tensor, "*p n d"],
) -> Float[Tensor, "p n d"]:
    """Return the image tokens plus what they take from tokens."""
    heads = attention.num_heads
    value = attention.v_proj(tokens).unflatten(-1, (heads, -1))
    folded = torch.einsum("pthc,dhc->phtd", value, attention.out_proj.weight.unflatten(1, (heads, -1)))
    # Every head's weights sum to 1, so that each may bring its share of the bias.
    folded = folded + attention.out_proj.bias / heads
    weights = scores.softmax(dim=2).flatten(1, 2)
    return torch.baddbmm(image.expand(len(tokens), -1, -1), weights.mT, folded.flatten(1, 2))


def _by_head(x: Float[Tensor, "n hc"], attention: Attention) -> Float[Tensor, "heads n c"]:
    return x.view(len(x), attention.num_heads, -1).transpose(0, 1)


def _temperature(attention: Attention) -> float:
    return math.sqrt(attention.internal_dim // attention.num_heads)
