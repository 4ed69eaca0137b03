"""GPU kernels with a readable PyTorch reference each; they take tensors and know nothing of schemas."""
