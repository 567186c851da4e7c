"""What is past one machine is needed, imported and mentioned by nothing that does not ask for it."""

import subprocess
import sys

HIDDEN = (
    "ray", "cv2", "matplotlib", "jinja2", "kserve", "onnx", "onnxruntime", "tf2onnx", "ai_edge_litert",
    "ai_edge_quantizer", "sklearn", "threadpoolctl", "jax", "jaxlib",
)  # fmt: skip
BY_KERAS = {"cv2", "jax", "matplotlib", "sklearn"}  # which looks for them by itself

# Build, train, predict many, all on this machine, with these packages gone.
ON_ONE_MACHINE = """
import sys

tried = set()

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            tried.add(name)
            raise ModuleNotFoundError(f"hidden: {name}", name=name)

sys.meta_path.insert(0, Hidden())
import deepvideo_tf as dv

root, output = sys.argv[1:]
spec = dv.ShardSpec(clips_per_video=1, frame_size_px=32)
dv.build_shards(dv.read_folder(root), f"{output}/shards", spec=spec, num_shards=2)
clip = dv.ClipSpec(crop_size_px=32)
config = dv.TrainConfig(model="single_frame", clip=clip, width=0.05, num_epochs=1, global_batch_size=8)
dv.train_and_export(config, f"{output}/shards", f"{output}/run")
videos = [video.path for video in dv.read_folder(root).videos]
dv.predict_many(f"{output}/run", root, videos, f"{output}/predictions", num_shards=2)
assert tried <= BY_KERAS, tried
"""


def test_one_machine_needs_no_extra(synthetic_videos, tmp_path):
    code = f"HIDDEN, BY_KERAS = {HIDDEN!r}, {BY_KERAS!r}\n{ON_ONE_MACHINE}"
    result = subprocess.run(
        [sys.executable, "-c", code, synthetic_videos, tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "hidden" not in result.stderr
    assert (tmp_path / "predictions/predictions-manifest.json").exists()
    assert (tmp_path / "run/saved_model").is_dir()
