"""What the package is called, needs and installs."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

PROGRAMS = {
    "describe": "deepvideo_tf.pipelines.describe",
    "build-shards": "deepvideo_tf.pipelines.build_shards",
    "check-parity": "deepvideo_tf.export.check_parity",
    "demo": "deepvideo_tf.pipelines.demo",
    "evaluate": "deepvideo_tf.pipelines.evaluate",
    "export-onnx": "deepvideo_tf.export.onnx_model",
    "export-saved-model": "deepvideo_tf.export.saved_model",
    "export-tflite": "deepvideo_tf.export.tflite",
    "inspect-shards": "deepvideo_tf.pipelines.inspect_shards",
    "make-synthetic": "deepvideo_tf.pipelines.make_synthetic",
    "predict": "deepvideo_tf.pipelines.predict",
    "predict-many": "deepvideo_tf.pipelines.predict_many",
    "report": "deepvideo_tf.pipelines.report",
    "serve": "deepvideo_tf.export.serve",
    "train": "deepvideo_tf.pipelines.train",
    "verify-shards": "deepvideo_tf.pipelines.verify_shards",
}

LITE = ["ai-edge-litert>=2.3,<3"]
QUANTIZE = [*LITE, "ai-edge-quantizer>=0.10,<0.11"]
CAMERA = ["opencv-python-headless>=5,<6"]
BASELINE = ["opencv-python-headless>=4.14,<6", "scikit-learn>=1.9,<2", "threadpoolctl>=3.5,<4"]
ONNX = ["onnx>=1.23,<2", "onnxruntime>=1.32,<2", "tf2onnx>=1.17,<2"]
SERVE = ["kserve>=0.21,<0.22"]
RAY = ["ray>=2.60,<2.61"]
JAX = ["jax>=0.10,<0.11"]
PLOTS = ["matplotlib>=3.10,<4"]
REPORT = [*PLOTS, *BASELINE, "jinja2>=3.1,<4"]
DOCS = [*PLOTS, "furo>=2025.12", "myst-parser>=5,<6", "sphinx>=9,<10"]
TEST = [
    "cryptography>=44",
    "gcp-storage-emulator>=2026.7",
    "hypothesis>=6.100",
    "ipykernel>=7,<8",
    "mypy>=2.4,<3",
    "nbclient>=0.11,<0.12",
    "nbformat>=5.10,<6",
    "pydoclint>=0.12,<0.13",
    "pytest>=9,<10",
    "pytest-xdist>=3.8,<4",
    "ruff>=0.17,<0.18",
    "scikit-learn>=1.9,<2",
]

setup(
    name="deepvideo-tf",
    version="0.1.0",
    description="Video classification with convolutional networks (Karpathy et al., CVPR 2014) in TensorFlow and Keras",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    keywords="video classification, action recognition, TensorFlow, Keras, Sports-1M, UCF-101",
    python_requires=">=3.11,<3.14",
    install_requires=[
        "absl-py>=2.1,<3",
        "av>=18.1,<19",
        "filelock>=3.16",
        "google-crc32c>=1.6,<2",
        "h5py>=3.11,<4",
        "keras>=3.15,<3.16",
        "numpy>=2,<3",
        "pillow>=11",
        "simplejpeg>=1.9,<2",
        "tensorflow>=2.21,<2.22",
        "tensorflow-serving-api>=2.21,<2.22",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "lite": LITE,
        "quantize": QUANTIZE,
        "onnx": ONNX,
        "camera": CAMERA,
        "serve": SERVE,
        "baseline": BASELINE,
        "ray": RAY,
        "jax": JAX,
        "plots": PLOTS,
        "report": REPORT,
        "docs": DOCS,
        "dev": QUANTIZE + ONNX + CAMERA + SERVE + RAY + JAX + REPORT + DOCS + TEST,
    },
    # The programs' folders stand at the top of the repository, where a reader finds them; under their own names they
    # would land in a user's site-packages as `pipelines` and `export`.
    package_dir={"deepvideo_tf.pipelines": "pipelines", "deepvideo_tf.export": "export"},
    packages=[*find_packages(include=["deepvideo_tf*"]), "deepvideo_tf.pipelines", "deepvideo_tf.export"],
    package_data={"deepvideo_tf": ["__init__.pyi", "py.typed"], "deepvideo_tf.reporting": ["*.jinja"]},
    entry_points={"console_scripts": [f"deepvideo-{name} = {module}:run" for name, module in PROGRAMS.items()]},
)
