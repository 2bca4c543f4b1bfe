#include <doctest/doctest.h>

#include <cmath>
#include <iterator>
#include <sstream>
#include <stdexcept>

#include <nvfp4/explain.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/program.hpp"

using namespace nvfp4;

/// The walk of src/explain.cpp; what the program prints of it, cli_commands_test.cpp sees.
namespace {

ExplainQuestion question(const Dialect& dialect, std::vector<float> values) {
  return {.spec = default_spec(dialect), .values = std::move(values), .tensor_amax = 2688.f};
}

std::string refusal(const ExplainQuestion& q) {
  try {
    explain(q);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

/// What the program prints where this line is run.
std::string printed(const std::string& line) {
  std::istringstream words(line);
  program::Arguments arguments{std::istream_iterator<std::string>(words), {}};
  arguments.erase(arguments.begin());
  return program::run(arguments).out;
}

}  // namespace

TEST_CASE("explain: every dialect's walk ends where its layers do") {
  for (const Dialect* d : all_dialects()) {
    CAPTURE(d->name);
    const ExplainQuestion q = question(*d, {6, 5, -0.25f, 2.5f, 1e-3f, -0.f});
    const std::vector<Explanation> by_cpu = explain(q), by_reference = explain(q, reference_kernels());
    REQUIRE(by_cpu.size() == q.values.size());
    for (std::size_t i = 0; i < by_cpu.size(); ++i) {
      CHECK(by_cpu[i].value == q.values[i]);
      CHECK(describe(by_cpu[i]) == describe(by_reference[i]));
      CHECK_FALSE(by_cpu[i].element.empty());
    }
  }
}

TEST_CASE("explain: maxima default to the values' and the block's") {
  const Explanation e = explain({.values = {1.5f, -3}})[0];
  CHECK(e.amax == 3);
  CHECK(e.tensor_amax == 3);
  CHECK(explain({.values = {1.5f}, .amax = 4.f})[0].tensor_amax == 4);
}

TEST_CASE("explain: a NaN by every dialect, which drops it from maxima or does not") {
  for (const Dialect* d : all_dialects()) {
    CAPTURE(d->name);
    const ExplainQuestion q{.spec = default_spec(*d), .values = {NAN, 3}};
    for (const Explanation& e : explain(q, reference_kernels()))
      CHECK(std::isnan(e.amax) == d->nan_in_block_amax);
    if (!d->nan_in_block_amax) continue;
    ExplainQuestion given = q;
    given.amax = 3.f;
    CHECK(refusal(given).find("takes NaN into maxima") != std::string::npos);
  }
}

TEST_CASE("explain: a tie says so") {
  const Explanation e = explain({.values = {5}, .amax = 6.f, .tensor_amax = 2688.f})[0];
  REQUIRE(e.element.back().story);
  CHECK(e.element.back().story->tie);
  CHECK(e.code == 6);
  CHECK(e.result == 4);
}

TEST_CASE("explain: refusals are one line each") {
  CHECK(refusal({.values = {2}, .amax = 1.f}) ==
        "amax 1 is below |2|: expected the block's largest magnitude");
  CHECK(refusal({.values = {1}, .amax = -1.f}).find("expected 0 or more") != std::string::npos);
  CHECK(refusal({.values = {1}, .amax = NAN}).find("drops NaN from maxima") != std::string::npos);
  CHECK(refusal({.dtype = Dtype::bf16, .values = {0.3f}}).find("is no bf16 number") != std::string::npos);
  QuantizeSpec tiles;
  tiles.block = {16, 16};
  CHECK(refusal({.spec = tiles, .values = {1}}).find("blocks of one row") != std::string::npos);
}

TEST_CASE("explain: the line it names prints it") {
  QuantizeSpec spec;
  spec.stochastic = Stochastic{.rule = SrRule::te_software};
  for (const ExplainQuestion& q :
       {ExplainQuestion{.values = {0.3f, -2}, .amax = 3.f, .tensor_amax = 12.f},
        ExplainQuestion{.spec = spec, .values = {1.25f}, .amax = 3.f, .random = 0x9E}}) {
    std::string expected;
    for (const Explanation& e : explain(q)) {
      if (!expected.empty()) expected += '\n';
      expected += describe(e);
    }
    CHECK(printed(explain_command(q)) == expected);
  }
  CHECK(explain_command({.values = {-INFINITY}}) == "nvfp4 explain --dialect te -- -inf");
}
