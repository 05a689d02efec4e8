"""The operators a model may call: pure functions of their inputs, by name."""

from __future__ import annotations

import re

_POINTWISE = """
abs acos acosh add addcdiv addcmul alias asin asinh atan atan2 atanh bitwise_and bitwise_not
bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip cos cosh deg2rad div divide elu eq
erf erfc exp exp2 expm1 fix floor floor_divide fmax fmin fmod frac ge gelu glu greater greater_equal
gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isfinite isinf isnan le leaky_relu less
less_equal lerp log log10 log1p log2 log_sigmoid logaddexp logical_and logical_not logical_or
logical_xor logit lt masked_fill maximum minimum mish mul multiply nan_to_num ne neg negative
not_equal positive pow prelu rad2deg reciprocal relu relu6 remainder round rsqrt rsub selu sgn
sigmoid sign silu sin sinc sinh softplus softshrink sqrt square sub subtract tan tanh threshold
true_divide trunc where xlogy
"""
_REDUCTIONS = """
all amax amin any argmax argmin cummax cummin cumprod cumsum linalg_norm linalg_vector_norm
linalg_matrix_norm log_softmax logsumexp max mean median min norm prod softmax sort std std_mean sum var
var_mean frobenius_norm _softmax _log_softmax count_nonzero
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
"""
_LINEAR = """
addmm baddbmm bilinear bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d convolution
_convolution dot einsum inner linalg_inv linalg_matrix_exp linalg_solve linalg_solve_triangular
linalg_cholesky linalg_qr linear matmul mm mv outer scaled_dot_product_attention matrix_exp
linalg_multi_dot trace kron vdot _weight_norm norm_except_dim
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d avg_pool2d batch_norm
_native_batch_norm_legit_no_training dropout feature_dropout group_norm instance_norm layer_norm
local_response_norm max_pool1d max_pool2d max_pool2d_with_indices native_group_norm
native_layer_norm rms_norm upsample_bicubic2d upsample_bilinear2d upsample_nearest1d
upsample_nearest2d upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
grid_sampler grid_sampler_2d cosine_similarity one_hot
"""
_CONSTANTS = """
arange eye full full_like linspace new_full new_ones new_zeros ones ones_like scalar_tensor zeros
zeros_like
"""
_SIZES = "sym_size sym_numel sym_stride _assert_tensor_metadata"
_IN_PLACE = """
abs_ add_ addcdiv_ addcmul_ ceil_ celu_ clamp_ clamp_max_ clamp_min_ copy_ div_ elu_ exp_ fill_
floor_ hardsigmoid_ hardswish_ hardtanh_ leaky_relu_ masked_fill_ mul_ neg_ pow_ reciprocal_ relu6_
relu_ round_ rsqrt_ selu_ sigmoid_ silu_ sqrt_ squeeze_ sub_ tanh_ threshold_ transpose_ unsqueeze_
zero_ mish_ square_ dropout_
"""

ALLOWED = frozenset(
    " ".join([_POINTWISE, _REDUCTIONS, _SHAPES, _LINEAR, _LAYERS, _CONSTANTS, _SIZES, _IN_PLACE]).split()
)
_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_SIZE_ARITHMETIC = frozenset({"_operator.add", "_operator.mul", "_operator.sub", "_operator.floordiv"})


def allowed(target: str) -> bool:
    """Tell whether a serialised target is a known pure operator.

    Args:
        target: as the archive spells it, such as `torch.ops.aten.conv2d.default`.

    Returns:
        True for a listed operator that does not write to an argument given for output.
    """
    if target in _SIZE_ARITHMETIC:
        return True
    found = _ATEN.fullmatch(target)
    return found is not None and found[1] in ALLOWED and found[2] != "out" and not found[2].endswith("_out")
