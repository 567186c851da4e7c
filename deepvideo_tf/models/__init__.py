"""The models of the paper, as Keras functional builders."""
