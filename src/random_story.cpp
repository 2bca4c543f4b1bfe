#include "random_story.hpp"

#include <cstdlib>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "stored_code.hpp"

namespace nvfp4 {
namespace {

struct Candidate {
  std::string text;
  std::optional<Stochastic> stochastic;
};

/// Ways in which a kernel's random bits go wrong, each alone.
std::vector<Candidate> candidates(const Stochastic& s) {
  std::vector<Candidate> all{{"they were rounded to nearest", std::nullopt}};
  const auto add = [&](std::string text, auto change) {
    Stochastic other = s;
    change(other);
    all.push_back({std::move(text), other});
  };
  const ByteMap map = s.map == ByteMap::hw ? ByteMap::te : ByteMap::hw;
  const SrRule rule = s.rule == SrRule::carry ? SrRule::te_software : SrRule::carry;
  const int rounds = s.random.rounds == 10 ? 7 : 10;
  add("byte map " + std::string(name(map)), [&](Stochastic& o) { o.map = map; });
  add("rule " + std::string(name(rule)), [&](Stochastic& o) { o.rule = rule; });
  add("rule " + std::string(name(rule)) + " and byte map " + std::string(name(map)),
      [&](Stochastic& o) { o.rule = rule, o.map = map; });
  add("Philox of " + std::to_string(rounds) + " rounds", [&](Stochastic& o) { o.random.rounds = rounds; });
  for (std::uint64_t stream = 0; stream < 8; ++stream)
    add("stream " + std::to_string(stream), [&](Stochastic& o) { o.random.stream = stream; });
  for (int by = -4; by <= 4; ++by) {
    if (by == 0) continue;
    add("shifted by " + std::to_string(by) + " rows", [&](Stochastic& o) { o.random.row += by; });
    add("shifted by " + std::to_string(by) + " blocks", [&](Stochastic& o) { o.random.col += 16 * by; });
  }
  return all;
}

bool are_neighbours(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.cols; ++j) {
      const int x = code_at(a, i, j), y = code_at(b, i, j);
      if ((x & 8) != (y & 8) || std::abs((x & 7) - (y & 7)) > 1) return false;
    }
  return true;
}

}  // namespace

std::optional<std::string> random_story(const BlockScaledTensor& expected, const BlockScaledTensor& actual,
                                        MatrixView input) {
  const auto& stochastic = expected.spec.stochastic;
  if (!stochastic || expected.scales != actual.scales || !are_neighbours(expected, actual))
    return std::nullopt;
  const std::string text = "each differing code is the other neighbour of its element: other random bits";
  if (!input.data || stochastic->from_caller) return text;
  for (const Candidate& c : candidates(*stochastic)) {
    QuantizeSpec spec = expected.spec;
    spec.stochastic = c.stochastic;
    if (cpu_kernels().quantize(input, spec, {}).codes == actual.codes) return text + ", " + c.text;
  }
  return text;
}

}  // namespace nvfp4
