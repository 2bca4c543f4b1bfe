#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/checkpoint.hpp>

/// What is wrong with a checkpoint of block-scaled weights: the failures that loaders and engines meet, by stable codes.
namespace nvfp4 {

enum class Severity : std::uint8_t { info, warning, error };
constexpr std::string_view name(Severity s) {
  return s == Severity::error ? "error" : s == Severity::warning ? "warning" : "info";
}

/// One kind of finding. A code stays with its kind for good.
struct LintRule {
  std::string_view code;  ///< "NV001"
  Severity severity;
  std::string_view title, hint;
};
/// In the order of their codes.
std::span<const LintRule> lint_rules();
/// Throws std::invalid_argument where there is none of that code.
const LintRule& lint_rule(std::string_view code);

/// A block scale: its row in the weight (all experts of a stack counted through), and its number in that row.
struct BlockPlace {
  std::int64_t row, block;
};

struct Finding {
  const LintRule* rule;
  std::string place;                     ///< a weight, a tensor or a module by its name, or a document
  std::string text;                      ///< one line: what is there, with its numbers, and what was expected
  std::optional<BlockPlace> first = {};  ///< the first block that it is about
};

struct LintOptions {
  std::vector<std::string> ignored = {};  ///< codes
  int threads = 0;                        ///< 0: as many as the CPU layer has; findings never depend on it
  CheckpointWatch watch = {};
};

/// By code, and within a code in the order of the tensors. Reads every block-scaled weight once; memory holds one a
/// thread. Throws io::FileError for what cannot be read, std::invalid_argument for a code that is none.
std::vector<Finding> lint_checkpoint(const std::string& path, const LintOptions& = {});

}  // namespace nvfp4
