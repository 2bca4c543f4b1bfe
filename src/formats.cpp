#include "formats.hpp"

#include <array>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cpu {
namespace {

/// Below this, starting threads costs more than it saves.
constexpr std::int64_t worth_threads = 1 << 16;

using EncodeLoop = void (*)(std::span<const float>, const Edges&, std::span<std::uint32_t>);
using DecodeLoop = void (*)(std::span<const std::uint32_t>, std::span<float>);

template <Format F, Rounding R>
void encode_all(std::span<const float> values, const Edges& shared_edges, std::span<std::uint32_t> codes) {
  const Edges edges = shared_edges;
  const auto n = static_cast<std::int64_t>(values.size());
  const float* in = values.data();
  std::uint32_t* out = codes.data();
#pragma omp parallel for simd schedule(static) num_threads(threads()) if (n >= worth_threads)
  for (std::int64_t i = 0; i < n; ++i) out[i] = encode<F, R>(std::bit_cast<std::uint32_t>(in[i]), edges);
}

template <Format F>
void decode_all(std::span<const std::uint32_t> codes, std::span<float> values) {
  const auto n = static_cast<std::int64_t>(codes.size());
  const std::uint32_t* in = codes.data();
  float* out = values.data();
#pragma omp parallel for simd schedule(static) num_threads(threads()) if (n >= worth_threads)
  for (std::int64_t i = 0; i < n; ++i) out[i] = decode<F>(in[i]);
}

/// In the order of Rounding.
template <Format F>
constexpr std::array<EncodeLoop, 6> encode_loops{
    encode_all<F, Rounding::nearest_even>, encode_all<F, Rounding::toward_zero>,
    encode_all<F, Rounding::up>,           encode_all<F, Rounding::down>,
    encode_all<F, Rounding::ties_away>,    encode_all<F, Rounding::ties_to_zero>,
};

struct FormatLoops {
  const std::array<EncodeLoop, 6>& encode;
  DecodeLoop decode;
  std::uint32_t last;
};

template <Format F>
constexpr FormatLoops loops_of{encode_loops<F>, decode_all<F>, Layout<F>::last};

/// In the order of Format.
constexpr FormatLoops all_loops[] = {
    loops_of<Format::e2m1>,  loops_of<Format::e2m3>, loops_of<Format::e3m2>, loops_of<Format::e4m3>,
    loops_of<Format::ue4m3>, loops_of<Format::e5m2>, loops_of<Format::e8m0>, loops_of<Format::bf16>,
    loops_of<Format::fp16>,  loops_of<Format::tf32>,
};

const FormatLoops& loops(Format format) { return all_loops[static_cast<int>(format)]; }

/// [format][target][sign]; the policy table of reference/README.md.
constexpr std::uint32_t nan_codes[][4][2] = {
    /* e2m1  */ {{7, 7}, {8, 0}, {8, 8}, {0, 8}},
    /* e2m3  */ {{0x1F, 0x1F}, {0x20, 0}, {0x20, 0}, {0, 0x20}},
    /* e3m2  */ {{0x1F, 0x1F}, {0x20, 0}, {0x20, 0}, {0, 0x20}},
    /* e4m3  */ {{0x7F, 0x7F}, {0x7F, 0xFF}, {0x7F, 0xFF}, {0x7F, 0xFF}},
    /* ue4m3 */ {{0x7F, 0x7F}, {0x7F, 0x7F}, {0x7F, 0x7F}, {0x7F, 0x7F}},
    /* e5m2  */ {{0x7F, 0x7F}, {0x7E, 0xFE}, {0x7E, 0xFE}, {0x7F, 0xFF}},
    /* e8m0  */ {{0xFF, 0xFF}, {0xFF, 0xFF}, {0xFF, 0xFF}, {0xFF, 0xFF}},
    /* bf16  */ {{0x7FFF, 0x7FFF}, {0x7FC0, 0xFFC0}, {0x7FC0, 0xFFC0}, {0x7FC0, 0x7FC0}},
    /* fp16  */ {{0x7FFF, 0x7FFF}, {0x7E00, 0xFE00}, {0x7E00, 0xFE00}, {0x7E00, 0xFE00}},
    /* tf32  */
    {{0x7FFFE000, 0x7FFFE000}, {0x7FC00000, 0xFFC00000}, {0x7FC00000, 0xFFC00000}, {0x7FC00000, 0xFFC00000}},
};

Edges edges_of(const Encoding& e) {
  const FormatInfo& f = info(e.format);
  const auto& nan = nan_codes[static_cast<int>(e.format)][static_cast<int>(e.target)];
  const bool special = e.overflow == Overflow::special && (f.has_infinity || f.has_nan);
  const bool strict = e.target == Target::ml_dtypes || e.target == Target::xla;
  return {
      .overflow = loops(e.format).last + (special ? 1 : 0),
      .nan = {nan[0], nan[1]},
      .nan_index_mask = e.target == Target::torch ? loops(e.format).last : 0u,
      .zero = strict ? 0xFFu : 0u,
      .negative_mask = strict ? 0xFFu : 0u,
  };
}

}  // namespace

void encode(std::span<const float> values, const Encoding& e, std::span<std::uint32_t> codes) {
  loops(e.format).encode[static_cast<int>(e.rounding)](values, edges_of(e), codes);
}

void decode(std::span<const std::uint32_t> codes, Format format, std::span<float> values) {
  loops(format).decode(codes, values);
}

}  // namespace nvfp4::cpu
