#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/producers.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// --e4m3-max, --select, --error-fast.
struct FourOverSixOptions {
  int e4m3_max = 448;
  std::string select = "mae";
  bool error_fast = false;
  FourOverSix parsed() const;  ///< throws UsageError
};

std::vector<CLI::Option*> declare_four_over_six(CLI::App&, FourOverSixOptions&);

/// The options that, with the input, fix a quantized tensor's bytes.
struct ProfileOptions : FourOverSixOptions {
  std::string producer, dialect = "te", block, tensor_scale;  ///< empty: the dialect's own
  std::string rounding = "rne", random_map = "hw", sr_rule, rht_signs = "te";
  std::optional<float> amax;
  int rht = 0;
  std::uint64_t seed = 0;
  bool columns = false;
};

/// --dialect, --producer, --block, --tensor-scale, --tensor-amax, --columns, --rounding, --random-map, --sr-rule,
/// --rht, --rht-signs, --seed, and those of the four-over-six dialects.
void declare_profile(CLI::App&, ProfileOptions&);

/// Whether one of those options was given, so that a file's own manifest does not decide.
bool profile_given(const CLI::App&);

/// Throws UsageError for an unknown name, listing what there is, and for options that contradict.
Producer profile(const ProfileOptions&);
const Producer& producer_named(const std::string& name);
const Dialect& dialect_named(const std::string& name);

/// The options of a producer without a name: those of the four-over-six dialects, and of the transform.
Json option_json(const QuantizeSpec&);

/// How elements are rounded, where it is not as the dialect says.
Json rounding_json(const QuantizeSpec&);

/// E of a stack's shape (E, M, K), which --experts asks for. Throws io::FileError for another rank.
std::int64_t experts_of(const io::Array&);

Json describe_profile(const Producer&);

}  // namespace nvfp4::cli
