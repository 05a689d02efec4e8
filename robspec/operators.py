"""The one list of operators: what a model file may call, and therefore what a Lipschitz rule can be for.

Each is a function of its arguments alone: it reads no file, runs no code of the caller's, and returns no memory that
it did not write. The loader refuses every other; the rulebook refuses a rule for any other, since no file could reach
it.
"""

from __future__ import annotations

_POINTWISE = """
abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not
bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip cos cosh deg2rad div divide elu eq
erf erfc exp exp2 expm1 fix floor floor_divide fmax fmin fmod frac ge gelu glu greater greater_equal
gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isfinite isinf isnan le leaky_relu less
less_equal lerp log log10 log1p log2 log_sigmoid logaddexp logical_and logical_not logical_or
logical_xor logit lt masked_fill maximum minimum mish mul multiply nan_to_num ne neg negative
not_equal positive pow prelu rad2deg reciprocal relu relu6 remainder round rsqrt rsub selu sgn
sigmoid sign silu sin sinc sinh softplus softshrink sqrt square sub subtract tan tanh threshold
true_divide trunc where xlogy
absolute arcsinh arctan float_power log_sigmoid_forward rrelu _prelu_kernel
"""
_REDUCTIONS = """
all amax amin any argmax argmin cummax cummin cumprod cumsum linalg_norm linalg_vector_norm
linalg_matrix_norm log_softmax logsumexp max mean median min norm prod softmax sort std std_mean sum var
var_mean frobenius_norm _softmax _log_softmax count_nonzero
argsort kthvalue msort topk _safe_softmax
"""
_SHAPES = """
atleast_1d atleast_2d atleast_3d broadcast_to broadcast_tensors cat channel_shuffle chunk clone
concat concatenate constant_pad_nd contiguous detach diag diag_embed diagonal dstack expand
expand_as flatten flip gather hstack index index_select lift_fresh_copy movedim narrow
native_channel_shuffle numpy_T pad permute pixel_shuffle pixel_unshuffle ravel reflection_pad1d
reflection_pad2d repeat repeat_interleave replication_pad1d replication_pad2d reshape roll rot90
scatter select slice split split_with_sizes squeeze stack swapaxes swapdims t take take_along_dim
tensor_split tile to transpose tril triu unbind unflatten unfold unsqueeze view view_as vstack
type_as _to_copy _reshape_copy _unsafe_view im2col col2im matrix_H mH mT adjoint
alias fliplr flipud lift_fresh moveaxis reflection_pad3d replication_pad3d reshape_as _pad_circular
"""
_LINEAR = """
addmm baddbmm bilinear bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d convolution
_convolution dot einsum inner linalg_inv linalg_matrix_exp linalg_solve linalg_solve_triangular
linalg_cholesky linalg_qr linear matmul mm mv outer scaled_dot_product_attention matrix_exp
linalg_multi_dot trace kron vdot _weight_norm norm_except_dim
conv_transpose3d tensordot _scaled_dot_product_attention_math
_scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention_for_cpu
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d avg_pool2d batch_norm
_native_batch_norm_legit_no_training dropout feature_dropout group_norm instance_norm layer_norm
local_response_norm max_pool1d max_pool2d max_pool2d_with_indices native_group_norm
native_layer_norm rms_norm upsample_bicubic2d upsample_bilinear2d upsample_nearest1d
upsample_nearest2d upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
grid_sampler grid_sampler_2d cosine_similarity one_hot
adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool3d alpha_dropout avg_pool3d cudnn_batch_norm
feature_alpha_dropout max_pool1d_with_indices max_pool3d max_pool3d_with_indices native_batch_norm
native_dropout upsample_linear1d upsample_nearest3d upsample_trilinear3d _adaptive_avg_pool2d
_adaptive_avg_pool3d _fused_rms_norm _native_batch_norm_legit _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d
"""
_CONSTANTS = """
arange eye full full_like linspace new_full new_ones new_zeros ones ones_like scalar_tensor zeros
zeros_like
"""
SIZES = frozenset({"sym_size", "sym_numel", "sym_stride", "_assert_tensor_metadata"})
"""What tells of a tensor's shape alone."""

_IN_PLACE = "copy_ fill_ zero_"
"""Besides the in-place form of every operator above."""

ALLOWED = SIZES.union(" ".join([_POINTWISE, _REDUCTIONS, _SHAPES, _LINEAR, _LAYERS, _CONSTANTS, _IN_PLACE]).split())


def listed(name: str) -> bool:
    """Tell whether an operator is on the list.

    Args:
        name: without its overload, such as `conv2d`, `relu_` or `_softmax`.

    Returns:
        True also for the in-place form of a listed operator.
    """
    return name in ALLOWED or (name.endswith("_") and not name.endswith("__") and name[:-1] in ALLOWED)
