"""The TensorFlow operators that a SavedModel may use.

A list of what is allowed rather than of what is forbidden: TensorFlow has some 1,900 operators, among them
ones that read and write files, open sockets, call Python, run datasets, load libraries and print. These compute on
tensors, strings, tables and variables; a new one is added here after its documentation has been read.
"""

from __future__ import annotations

__all__ = ["CHECKPOINT_OPERATORS", "OPERATORS"]

CHECKPOINT_OPERATORS = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})
"""Read and write the file that they are given; every SavedModel has them, in the functions of its saver only."""

OPERATORS = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 All AnonymousHashTable AnonymousMutableHashTable Any ApproximateEqual ArgMax
    ArgMin AsString Asin Asinh Assert AssignVariableOp Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2
    BatchMatMulV3 BatchToSpace BatchToSpaceND Betainc BiasAdd BiasAddV1 Bincount Bitcast BitwiseAnd BitwiseOr
    BitwiseXor BroadcastArgs BroadcastTo Bucketize Case Cast Ceil ClipByValue Complex ComplexAbs Concat ConcatOffset
    ConcatV2 Conj Const Conv Conv2D Conv3D Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DataFormatDimMap
    DataFormatVecPermute DenseBincount DenseCountSparseOutput DepthToSpace DepthwiseConv2dNative Dequantize
    DestroyResourceOp Diag DiagPart Digamma DisableCopyOnRead Div DivNoNan DynamicPartition DynamicStitch Einsum Elu
    EmptyTensorList EnsureShape Enter Equal Erf Erfc Erfinv EuclideanNorm Exit Exp ExpandDims Expm1 Fill Fingerprint
    Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater
    GreaterEqual HashTable HashTableV2 Identity IdentityN If Igamma Igammac InTopK InTopKV2 InitializeTable
    InitializeTableV2 Inv InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift Less LessEqual
    Lgamma LinSpace ListDiff Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr LookupTableExportV2
    LookupTableFind LookupTableFindV2 LookupTableImport LookupTableImportV2 LookupTableSize LookupTableSizeV2
    LoopCond LowerBound MatMul MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
    MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 Max MaxPool MaxPool3D MaxPoolV2 Maximum
    Mean Merge Min Minimum MirrorPad Mod Mul MulNoNan Multinomial MutableHashTable MutableHashTableV2 Neg
    NextIteration NoOp NotEqual NthElement OneHot OnesLike Pack Pad PadV2 ParallelDynamicStitch PartitionedCall
    Placeholder PlaceholderWithDefault Pow PreventGradient Prod RaggedBincount RaggedCountSparseOutput RaggedCross
    RaggedFillEmptyRows RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor
    RaggedTensorToVariant RandomStandardNormal RandomUniform RandomUniformInt Range Rank ReadVariableOp Real RealDiv
    Reciprocal ReduceJoin RegexFullMatch RegexReplace Relu Relu6 Reshape ResourceGather ResourceGatherNd Reverse
    ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt ScatterNd SegmentMax SegmentMean SegmentMin
    SegmentProd SegmentSum Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
    Softsign SpaceToBatch SpaceToBatchND SpaceToDepth SparseConcat SparseCross SparseCrossHashed SparseCrossV2
    SparseFillEmptyRows SparseMatMul SparseReduceMax SparseReduceSum SparseReorder SparseReshape SparseSegmentMean
    SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum
    SparseSegmentSumWithNumSegments SparseSlice SparseSoftmax SparseSplit SparseTensorDenseAdd
    SparseTensorDenseMatMul SparseToDense Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
    StatelessCase StatelessIf StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
    StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullIntV2
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessWhile StaticRegexFullMatch StaticRegexReplace
    StopGradient StridedSlice StringFormat StringJoin StringLength StringLower StringNGrams StringSplit
    StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber
    StringUpper Sub Substr Sum Switch Tan Tanh TensorListConcatV2 TensorListElementShape TensorListFromTensor
    TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve
    TensorListResize TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack TensorScatterAdd
    TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TopK TopKV2
    Transpose TruncateDiv TruncateMod TruncatedNormal UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode
    UnicodeScript UnicodeTranscode Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex
    UnsortedSegmentJoin UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum UpperBound
    VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2 Where While Xdivy Xlog1py Xlogy ZerosLike
    """.split()  # noqa: SIM905 - one name a line would be five pages
)
