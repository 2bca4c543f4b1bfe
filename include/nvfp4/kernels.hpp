#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/eden.hpp>
#include <nvfp4/formats.hpp>
#include <nvfp4/gemm.hpp>
#include <nvfp4/hadamard.hpp>
#include <nvfp4/mma.hpp>
#include <nvfp4/random.hpp>
#include <nvfp4/stochastic.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// One layer's way to do the arithmetic. Every layer fills the same table, with the same bits.
/// All entries are bit-exact: equal to reference_kernels() for every input, thread count and machine.
struct Kernels {
  std::string_view name;

  /// codes[i] = the code of values[i]. Both spans have one length.
  void (*encode)(std::span<const float> values, const Encoding&, std::span<std::uint32_t> codes);

  /// codes[i] = the code that random[i], of StochasticEncoding::bits bits, rounds values[i] to. All spans have one
  /// length. Throws std::invalid_argument for an encoding that validate() refuses.
  void (*encode_stochastic)(std::span<const float> values, std::span<const std::uint32_t> random,
                            const StochasticEncoding&, std::span<std::uint32_t> codes);

  /// values[i] = the value of codes[i]; exact. NaN comes out as the default quiet NaN 0x7FC00000, with the
  /// code's sign where the format has one.
  void (*decode)(std::span<const std::uint32_t> codes, Format, std::span<float> values);

  /// max |x|, as the tensor step of this dialect takes it: NaN is dropped or poisons, by the dialect. With
  /// QuantizeSpec::amax it makes a tensor that is spread over devices one tensor.
  float (*amax)(MatrixView, const Dialect&);

  /// Throws std::invalid_argument for a spec that validate() refuses. `reuse` donates its memory.
  BlockScaledTensor (*quantize)(MatrixView, const QuantizeSpec&, BlockScaledTensor reuse);

  /// quantize() of the transpose, without making it: blocks run along the rows of the view (tokens), and the result
  /// has a row for each of its columns.
  BlockScaledTensor (*quantize_transposed)(MatrixView, const QuantizeSpec&, BlockScaledTensor reuse);

  /// quantize() of hadamard(), along tokens quantize_transposed() of it: an operand of a GEMM over tokens. The CPU
  /// layer makes no matrix of the transform where it is of 16 along tokens and rounded.
  BlockScaledTensor (*quantize_transformed)(MatrixView, const Hadamard&, const QuantizeSpec&,
                                            BlockScaledTensor reuse);

  /// MS-EDEN of a rotated matrix. The result is decoded by dialect quartet2_eden, but quantize() by it gives other scales:
  /// uncorrected ones.
  BlockScaledTensor (*quantize_eden)(MatrixView, const Eden&, BlockScaledTensor reuse);

  /// FP32 values by the dialect's own rule. Every NaN comes out as 0x7FC00000.
  Matrix (*dequantize)(const BlockScaledTensor&);

  /// The Hadamard transform, in the input's element type or in FP32; the shape stays. Every NaN comes out as that
  /// type's default quiet NaN. Throws std::invalid_argument where validate() does.
  Matrix (*hadamard)(MatrixView, const Hadamard&);

  /// An FP32 accumulator by the second-level scales of its operands. Every NaN comes out as the GPU's 0x7FFFFFFF.
  Matrix (*scale_output)(Matrix accumulator, const OutputScaling&);

  /// y(i, j) + (factor * x(i, j)) in FP32, the product rounded first. x has y's shape, or one row that stands for
  /// every row. Every NaN comes out as 0x7FFFFFFF.
  Matrix (*add_output)(Matrix y, float factor, MatrixView x);

  /// words[4 b .. 4 b + 3] = draw(bits, row, first_block + b); words.size() is a multiple of 4.
  void (*random_words)(const RandomBits&, std::int64_t row, std::int64_t first_block,
                       std::span<std::uint32_t> words);

  /// acc(i, j) = sum over k of a(i, k) * sa(i, k/block) * b(j, k) * sb(j, k/block), k along the rows of both, by the
  /// accumulation, from C = +0; FP32, M x N. Block scales are taken in (bit 7 of a UE4M3 is ignored), second-level
  /// scales are not. K is padded with zero codes and zero scales to the instruction's K. Throws
  /// std::invalid_argument where the accumulation does not take such operands. `reuse` donates its memory.
  Matrix (*multiply)(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation&,
                     Matrix reuse);

  /// acc = a * transpose(b) of dense operands, M x K and N x K, in FP32. Throws std::invalid_argument where a value
  /// is none of the accumulation's element format (`exact` and `fp32_in_order` take every FP32 value).
  Matrix (*multiply_dense)(MatrixView a, MatrixView b, const Accumulation&);

  /// D = A * transpose(B) + C on codes, tiles x rows x cols; with every_step the accumulator after each instruction,
  /// tiles x instructions(acc, k) x rows x cols.
  std::vector<std::uint64_t> (*mma)(const MmaOperands&, const Accumulation&, bool every_step);
};

/// In another element type, rounded to nearest even where that is narrower; overflow gives Inf, NaN that type's
/// canonical one as PTX has it.
Matrix converted(MatrixView, Dtype, const Kernels&);

/// Literal and slow: the definition of every bit. Library nvfp4::reference.
const Kernels& reference_kernels();

/// The instruction sets of the CPU layer, slowest first.
enum class Isa : std::uint8_t { portable, avx2, avx512, amx };
std::string_view name(Isa);

/// Tables, bit tricks, SIMD, OpenMP; equal to the reference. Uses the machine's best instruction set.
const Kernels& cpu_kernels();

/// The same with a given instruction set; null where this machine (or build) has none.
const Kernels* cpu_kernels(Isa);

/// Threads that the CPU layer uses from now on, 1 or more; results never depend on it.
void set_threads(int);
int threads();

}  // namespace nvfp4
