#include "golden_mma.hpp"

#include <array>

#include "mma_cases.hpp"

namespace nvfp4::cli {
namespace {

/// All tiles of `part` behind those of `whole`.
void append(MmaFile& whole, const MmaFile& part) {
  const auto add = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  add(whole.a, part.a), add(whole.b, part.b), add(whole.c, part.c);
  add(whole.a_scales, part.a_scales), add(whole.b_scales, part.b_scales);
  whole.tiles += part.tiles;
}

std::vector<GoldenArray> arrays_of(const MmaFile& x, const Instruction& i,
                                   const std::vector<std::uint64_t>& d) {
  const auto shape = [&](std::int64_t rows, std::int64_t cols) { return std::vector{x.tiles, rows, cols}; };
  std::vector<GoldenArray> arrays{code_array("A", x.a, element_bits(i.a, i.acc), shape(x.rows, x.k)),
                                  code_array("B", x.b, element_bits(i.b, i.acc), shape(x.cols, x.k)),
                                  code_array("C", x.c, code_bits(i.acc), shape(x.rows, x.cols)),
                                  code_array("D", d, code_bits(i.acc), shape(x.rows, x.cols))};
  if (!x.scale) return arrays;
  const std::int64_t blocks = (x.k + x.block - 1) / x.block;
  const std::vector<std::uint64_t> sfa(x.a_scales.begin(), x.a_scales.end()),
      sfb(x.b_scales.begin(), x.b_scales.end());
  arrays.push_back(code_array("SFA", sfa, 8, shape(x.rows, blocks)));
  arrays.push_back(code_array("SFB", sfb, 8, shape(x.cols, blocks)));
  return arrays;
}

void note(Verdict& verdict, std::int64_t tile, std::int64_t row, std::int64_t col) {
  verdict.text = "case " + verdict.name + ", array D at (" + std::to_string(tile) + ", " +
                 std::to_string(row) + ", " + std::to_string(col) + ") differs";
  verdict.first = {{"case", verdict.name}, {"array", "D"}, {"tile", tile},
                   {"row", row},           {"col", col},   {"text", verdict.text}};
}

}  // namespace

std::vector<GoldenArray> mma_arrays(const Instruction& instruction, const std::vector<std::string>& packs,
                                    std::uint64_t seed, const Kernels& kernels) {
  MmaFile all;
  std::vector<std::uint64_t> of_tile;
  for (const std::string& pack : packs) {
    MmaFile part = mma_case(instruction, pack, seed);
    of_tile.insert(of_tile.end(), static_cast<std::size_t>(part.tiles),
                   of_tile.size() / static_cast<std::size_t>(part.tiles));
    if (all.a.empty())
      all = std::move(part);
    else
      append(all, part);
  }
  std::vector<GoldenArray> arrays =
      arrays_of(all, instruction, kernels.mma(all.operands(), instruction.acc, false));
  arrays.push_back(code_array("case", of_tile, 8, {all.tiles}));
  return arrays;
}

std::vector<Verdict> check_mma(const io::ArrayFile& file, const Instruction& i,
                               const std::vector<std::string>& packs, const Kernels& kernels) {
  const MmaFile x = read_mma(file, "", i.acc, i.a, i.b);
  if (!x.d) throw io::FileError(file.file(), "array 'D'", "the results of the instruction", "none");
  const io::Array cases = file.read("case");
  const auto of_tile = cases.u8(std::array{x.tiles});
  std::vector<Verdict> verdicts;
  for (const std::string& pack : packs) verdicts.push_back({.name = pack, .arrays = 1});
  const std::vector<std::uint64_t> d = kernels.mma(x.operands(), i.acc, false);
  const std::int64_t tile = x.rows * x.cols;
  for (std::int64_t n = 0; n < x.tiles * tile; ++n) {
    const std::size_t place = static_cast<std::size_t>(n), pack = of_tile[static_cast<std::size_t>(n / tile)];
    if (pack >= packs.size()) cases.refuse("0 to " + std::to_string(packs.size() - 1), std::to_string(pack));
    if (d[place] == (*x.d)[place]) continue;
    verdicts[pack].differing_bytes += differing_bytes(d[place], (*x.d)[place]);
    if (verdicts[pack].text.empty()) note(verdicts[pack], n / tile, n % tile / x.cols, n % x.cols);
  }
  return verdicts;
}

}  // namespace nvfp4::cli
