"""The models of the paper, as Keras functional builders."""

from deepvideo_tf.config import FEATURE_HISTOGRAMS, FUSIONS, STREAMS, multires_name

# Every model and the module that registers it, imported when the model is first asked for.
MODEL_MODULES = {
    **dict.fromkeys(FUSIONS, "deepvideo_tf.models.network"),
    **{
        multires_name(fusion, stream): "deepvideo_tf.models.network"
        for fusion in FUSIONS
        for stream in (None, *STREAMS)
    },
    FEATURE_HISTOGRAMS: "deepvideo_tf.models.feature_histograms",
}
MODEL_EXTRAS = {FEATURE_HISTOGRAMS: "baseline"}  # of pip, for those that need packages of their own
