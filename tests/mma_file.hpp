#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>

/// Instructions' operands and results in tests/golden/mma_sim and h200_mma, for models that a test makes up.
namespace mma_file {

using Codes = std::vector<std::uint64_t>;

struct Instructions {
  nvfp4::MmaOperands shape;  ///< without its spans
  Codes a, b, c, d;
  std::vector<std::uint8_t> a_scales, b_scales;

  nvfp4::MmaOperands operands() const {
    nvfp4::MmaOperands x = shape;
    x.a = a, x.b = b, x.c = c, x.a_scales = a_scales, x.b_scales = b_scales;
    return x;
  }
};

inline Codes codes(const nvfp4::io::Array& array) {
  const auto size = static_cast<std::size_t>(nvfp4::io::info(array.info.type).bits / 8);
  Codes all(array.bytes.size() / size);
  for (std::size_t i = 0; i < all.size(); ++i) std::memcpy(&all[i], array.bytes.data() + i * size, size);
  return all;
}

/// The arrays' names: "A", "B", "SFA", "SFB", "C" and of the results "D" or another.
struct Names {
  std::string a = "A", b = "B", c = "C", d = "D", a_scales = "SFA", b_scales = "SFB";
};

inline std::unique_ptr<nvfp4::io::ArrayFile> open(const std::string& file) {
  return nvfp4::io::open_arrays(NVFP4_GOLDEN_DIR "/" + file + ".npz");
}

/// One dot product a row where A has two dimensions.
inline Instructions read(const nvfp4::io::ArrayFile& file, const nvfp4::Accumulation& acc, nvfp4::Format a,
                         nvfp4::Format b, const Names& names = {}) {
  Instructions x;
  const auto sa = file.info(names.a).shape, sb = file.info(names.b).shape;
  x.shape.tiles = sa[0], x.shape.k = sa.back();
  if (sa.size() == 3) x.shape.rows = sa[1], x.shape.cols = sb[1];
  x.shape.a_format = a, x.shape.b_format = b;
  x.a = codes(file.read(names.a)), x.b = codes(file.read(names.b));
  x.c = codes(file.read(names.c)), x.d = codes(file.read(names.d));
  if (!file.contains(names.a_scales)) return x;
  const Codes sfa = codes(file.read(names.a_scales)), sfb = codes(file.read(names.b_scales));
  x.a_scales.assign(sfa.begin(), sfa.end()), x.b_scales.assign(sfb.begin(), sfb.end());
  x.shape.scale = acc.scale;
  x.shape.block = static_cast<int>(x.shape.k / file.info(names.a_scales).shape.back());
  return x;
}

/// The first tiles alone: the reference is slow.
inline Instructions first_tiles(Instructions x, std::int64_t most) {
  const std::int64_t tiles = std::min(x.shape.tiles, most), all = x.shape.tiles;
  const auto cut = [&](auto& codes) {
    codes.resize(codes.size() / static_cast<std::size_t>(all) * static_cast<std::size_t>(tiles));
  };
  cut(x.a), cut(x.b), cut(x.c), cut(x.d), cut(x.a_scales), cut(x.b_scales);
  x.shape.tiles = tiles;
  return x;
}

inline std::int64_t mismatches(const Codes& expected, const Codes& actual) {
  std::int64_t count = expected.size() != actual.size();
  for (std::size_t i = 0; i < std::min(expected.size(), actual.size()); ++i)
    count += expected[i] != actual[i];
  return count;
}

}  // namespace mma_file
