#pragma once
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace nvfp4::cli {

using Json = nlohmann::ordered_json;

/// What a command hands back; main prints `json` under --json, else `text`.
struct Outcome {
  int exit_code = 0;  ///< 0: equal, clean or done. 1: differs, or a finding
  Json json = Json::object();
  std::string text{};
  bool to_stdout = false;  ///< the output itself went to stdout, so `text` goes to stderr
};

/// Exit code 2: the message is one line that names the place and what was expected.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Run = std::function<Outcome()>;

/// `name` may be two words ("golden make"). `declare` puts the options on the command's parser and
/// returns what runs after parsing.
struct Command {
  std::string_view name, summary;
  Run (*declare)(CLI::App&);
};

/// Every command there is; --help, completion and dispatch are made from this table.
std::span<const Command> commands();

Run declare_verify(CLI::App&);
Run declare_quantize(CLI::App&);
Run declare_dequantize(CLI::App&);
Run declare_convert(CLI::App&);
Run declare_gemm(CLI::App&);
Run declare_mma(CLI::App&);
Run declare_bound(CLI::App&);
Run declare_golden_make(CLI::App&);
Run declare_golden_check(CLI::App&);
Run declare_diff(CLI::App&);
Run declare_identify(CLI::App&);
Run declare_explain(CLI::App&);
Run declare_linear(CLI::App&);
Run declare_inspect(CLI::App&);
Run declare_lint(CLI::App&);
Run declare_dialects(CLI::App&);
Run declare_study_schemes(CLI::App&);
Run declare_bench(CLI::App&);
Run declare_completion(CLI::App&);

}  // namespace nvfp4::cli
