#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nvfp4/compare.hpp>
#include <nvfp4/hadamard.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/layout.hpp>

namespace nvfp4 {

/// What a stored second-level scale is to the one that the dialect keeps, `own`.
enum class GlobalAs : std::uint8_t {
  own,
  inverted,      ///< 1 / own
  decode_scale,  ///< own / divisor, where own is an amax
  encode_scale,  ///< divisor / own, where own is an amax
  not_given,
};
std::string_view name(GlobalAs);

/// What `stored` is to `own`, of a spec's dialect: the first that holds with one FP32 rounding either way.
std::optional<GlobalAs> global_as(const QuantizeSpec&, std::span<const float> own,
                                  std::span<const float> stored);

/// How bytes may have come about: the arithmetic, then how they were laid down.
struct Origin {
  QuantizeSpec spec;
  bool transposed = false;     ///< the transpose was quantized
  std::optional<Signs> rht{};  ///< RHT-16 along the rows of what was quantized
  Packing packing = Packing::low_first;
  ScaleLayout layout = ScaleLayout::linear;
  GlobalAs global = GlobalAs::own;
};

/// Somebody's output: bytes of codes, `rows` rows of them; bytes of scales in any layout; `global` may be empty.
struct UnknownOutput {
  std::int64_t rows = 0;
  std::span<const std::uint8_t> codes, scales;
  std::span<const float> global{};
};

struct Identification {
  std::vector<Origin> matches;       ///< all that give every byte, the plainest way to lay them down first
  std::optional<Origin> nearest;     ///< where nothing matches and a size fits: the fewest bytes apart
  std::int64_t differing_bytes = 0;  ///< of that one
  std::optional<Mismatch> first{};   ///< of that one
};

/// Tries every dialect with its options, both orientations and the transforms. Large tensors are sampled, and
/// what the sample leaves is confirmed on all bytes. NaNs compare as in `nvfp4 golden check`.
Identification identify(MatrixView x, const UnknownOutput&, const Kernels& = cpu_kernels());

/// Whether two specs quantize alike, whatever amax or random bits the caller gives.
bool same_arithmetic(const QuantizeSpec&, const QuantizeSpec&);

struct Producer;

/// The producers whose profile makes such rows and, where there are columns, such columns.
std::vector<const Producer*> producers_of(const Origin& rows, const Origin* columns = nullptr);

/// What an output by itself rules out, and why.
struct Exclusion {
  const Dialect* dialect;
  std::string why;
};
std::vector<Exclusion> exclusions(const UnknownOutput&);

}  // namespace nvfp4
