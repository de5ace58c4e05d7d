"""Which ONNX operators a network may have: a table, by domain.

An operator that is not here is refused at installation. What is left out of the standard ones on purpose: random ones
(golden outputs could not hold), those that read strings or encoded pictures (parsers that no detector needs), losses
and gradients (training), and preview domains. Of ``com.microsoft`` there are those that ONNX Runtime's own quantiser
and optimiser write. Operators of a domain of somebody's own need code that no bundle may bring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_STANDARD: Final = frozenset(
    """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
    BatchNormalization BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike
    Ceil Celu CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape Conv
    ConvInteger ConvTranspose Cos Cosh CumProd CumSum DFT DeformConv DepthToSpace DequantizeLinear Det Div
    Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop
    LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization
    MelWeightMatrix Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement
    OptionalHasElement Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT Scan
    Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase
    SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
    Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub Sum Swish Tan Tanh TensorScatter
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905 - two hundred words, not two hundred quoted words
)

_MICROSOFT: Final = frozenset(
    """
    Attention BiasGelu BiasSplitGelu BiasSoftmax DequantizeLinear DynamicQuantizeMatMul FastGelu FusedConv
    FusedGemm FusedMatMul FusedMatMulActivation Gelu GridSample GroupNorm MatMulIntegerToFloat MatMulNBits
    MultiHeadAttention NhwcConv NhwcFusedConv NhwcMaxPool QAttention QGemm QLinearAdd QLinearAveragePool
    QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean
    QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu Rfft SkipGroupNorm
    SkipLayerNormalization SkipSimplifiedLayerNormalization
    """.split()  # noqa: SIM905 - two hundred words, not two hundred quoted words
)

OPERATORS: Final[Mapping[str, frozenset[str]]] = {
    "": _STANDARD,
    "ai.onnx": _STANDARD,
    "com.microsoft": _MICROSOFT,
}
