"""Where a file belongs is told by its header, by the tree that it was found in, or by whoever pushes it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fake_runtime.comfyui.version import VERSIONS
from local.models.inspection import RefusedFileError, inspect
from local.models.kind import guess_folder
from local.models.layout import FOLDERS, WrongPlaceError, fault_of, key_of, known_folder, place_in_tree
from local.models.safetensors import Header, Tensor
from local.models.sources import named_files, planned
from tests.support.models import model_bytes

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("names", "metadata", "folder"),
    [
        (["model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.t"], {}, "Stable-diffusion"),
        (["model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.0.t"], {}, "Stable-diffusion"),
        (["double_blocks.0.img_attn.norm.key_norm.scale"], {}, "diffusion_models"),
        (["lora_unet_down_blocks_0_attentions_0.lora_up.weight"], {}, "Lora"),
        (["transformer.single_blocks.0.attn.lora_A.weight"], {}, "Lora"),
        (["x"], {"ss_network_module": "networks.lora"}, "Lora"),
        (["x"], {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "Lora"),
        (["x"], {"modelspec.architecture": "stable-diffusion-v1/textual-inversion"}, "embeddings"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], {}, "VAE"),
        (["first_stage_model.decoder.conv_in.weight"], {}, "VAE"),
        (["control_model.input_hint_block.0.weight"], {}, "ControlNet"),
        (["controlnet_cond_embedding.conv_in.weight", "down_blocks.0.x"], {}, "ControlNet"),
        (["model.1.sub.0.RDB1.conv1.0.weight"], {}, "ESRGAN"),
        (["layers.0.residual_group.blocks.0.attn.qkv.weight"], {}, "SwinIR"),
        (["emb_params"], {}, "embeddings"),
        (["clip_g", "clip_l"], {}, "embeddings"),
        (["text_model.encoder.layers.0.x"], {}, "text_encoders"),
        (["vision_model.encoder.layers.0.x"], {}, "clip_vision"),
        (["something.else"], {}, None),
        ([], {}, None),
    ],
)  # fmt: skip
def test_the_header_tells_the_folder(names: list[str], metadata: dict[str, str], folder: str | None) -> None:
    assert guess_folder(Header({name: Tensor("F32", (0,), 0, 0) for name in names}, metadata)) == folder


def test_folders_are_known_in_any_case() -> None:
    assert known_folder("lora") == "Lora"
    with pytest.raises(WrongPlaceError, match="'loras' is no folder of the model bucket; there are Stable-diffusion"):
        known_folder("loras")


@given(
    st.sampled_from(sorted(FOLDERS)), st.text(max_size=20) | st.sampled_from(["../x", "a/../../x", "/x", "..", "a//b"])
)
def test_a_key_that_is_accepted_stays_below_the_folder_that_it_is_fetched_into(folder: str, name: str) -> None:
    try:
        key = key_of(folder, name)
    except WrongPlaceError:
        return
    into = Path("/models")
    assert (into / key).resolve().is_relative_to(into / folder)
    assert fault_of(key) is None


@pytest.mark.parametrize(
    "key", ["x.safetensors", "checkpoints/x.safetensors", "Lora/", "Lora/../x", "Lora/.x", "Lora/a\nb"]
)
def test_a_key_that_no_runtime_sees_is_found_fault_with(key: str) -> None:
    assert fault_of(key)


def test_a_tree_like_the_bucket_tells_the_folder() -> None:
    assert place_in_tree(PurePosixPath("models/lora/styles/x.safetensors")) == ("Lora", "styles/x.safetensors")
    assert place_in_tree(PurePosixPath("x.safetensors")) is None


def test_comfyui_looks_into_folders_of_the_bucket_only() -> None:
    paths = yaml.safe_load((ROOT / "local/runtimes/comfyui/extra_model_paths.yaml").read_text())["darkroom"]
    folders = {
        folder for kind, named in paths.items() if kind not in {"base_path", "custom_nodes"} for folder in named.split()
    }
    assert folders <= set(FOLDERS)
    assert paths["checkpoints"] == "Stable-diffusion"
    assert set(VERSIONS["0.33"].folders) == paths.keys() - {"base_path"}, "every folder of the server is mapped"


def test_a_folder_is_pushed_as_it_is_laid_out(tmp_path: Path) -> None:
    for name in ("Lora/styles/a.safetensors", "b.safetensors", "Lora/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(model_bytes("lora_unet_a.lora_up.weight"))
    plans = [planned(path, where, folder=None, allow_pickle=False) for path, where in named_files([tmp_path])]
    assert [plan.key for plan in plans] == ["Lora/styles/a.safetensors", "Lora/b.safetensors"]
    (path, where), *_ = named_files([tmp_path / "Lora"])
    assert planned(path, where, folder=None, allow_pickle=False).key == "Lora/styles/a.safetensors"
    assert planned(path, where, folder="VAE", allow_pickle=False).key == "VAE/a.safetensors"


def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(model_bytes("who.knows"))
    with pytest.raises(RefusedFileError, match=r"x\.safetensors: cannot be told what it is; say --folder with one of"):
        planned(path, None, folder=None, allow_pickle=False)
    assert planned(path, None, folder="ESRGAN", allow_pickle=False).key == "ESRGAN/x.safetensors"


PICKLES = {
    "x.ckpt": b"PK\x03\x04" + bytes(60),
    "x.pt": b"\x80\x02}q\x00.",
    "x.bin": b"anything",
    "x.pth": bytes(257) + b"ustar" + bytes(250),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_are_refused_unless_they_are_asked_for(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(PICKLES[name])
    with pytest.raises(RefusedFileError, match=f"{name}: is a pickle, which can run any code .* --allow-pickle"):
        inspect(path, allow_pickle=False)
    assert inspect(path, allow_pickle=True).header is None


@pytest.mark.parametrize("content", [PICKLES["x.ckpt"], PICKLES["x.pt"], PICKLES["x.pth"]])
def test_a_pickle_under_another_name_is_refused_in_any_case(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(RefusedFileError, match="is a pickle by its content, not what its name says"):
        inspect(path, allow_pickle=True)


def test_a_safetensors_file_under_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(model_bytes("a"))
    with pytest.raises(RefusedFileError, match=r"name it x\.safetensors"):
        inspect(path, allow_pickle=False)
