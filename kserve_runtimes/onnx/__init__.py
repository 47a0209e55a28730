"""ONNX Runtime: graphs in native code; scikit-learn and boosted trees by way of skl2onnx."""
