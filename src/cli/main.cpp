#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include <CLI/CLI.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/version.hpp>

#include "program.hpp"

namespace nvfp4::cli {
namespace {

constexpr Command table[] = {
    {"verify", "the main job: hold the fast layer against the reference, byte by byte", declare_verify},
    {"quantize", "quantize a matrix, or a whole checkpoint", declare_quantize},
    {"dequantize", "back to float32, float16 or bf16, by the dialect's own rule", declare_dequantize},
    {"convert", "a checkpoint by another convention, codes and block scales bit for bit", declare_convert},
    {"gemm", "a product of two quantized tensors, summed as a tensor core does", declare_gemm},
    {"mma", "matrix instructions bit by bit: a model of the hardware against results", declare_mma},
    {"bound", "how far a quantized product may be from the exact one", declare_bound},
    {"golden make", "write inputs and the bytes expected of them", declare_golden_make},
    {"golden check", "recompute somebody's golden file or raw dump and compare", declare_golden_check},
    {"diff", "two results: bytes, values, the first that differs, and why", declare_diff},
    {"identify", "which dialect and options made somebody's bytes", declare_identify},
    {"explain", "one value through every step: bits, neighbours, ties, errors", declare_explain},
    {"linear", "one linear layer, forward and backward, by a recipe", declare_linear},
    {"inspect", "what a tensor or checkpoint holds", declare_inspect},
    {"lint", "what is wrong with a checkpoint, by stable codes with hints", declare_lint},
    {"dialects", "the dialects, their sources and the evidence for them", declare_dialects},
    {"study schemes", "what each recipe costs a layer: errors, bias, bits, multiplications",
     declare_study_schemes},
    {"bench", "throughput beside the machine's limit, in one run", declare_bench},
    {"completion", "print a completion script for bash, zsh or fish", declare_completion},
};

/// Whose commands are two words.
constexpr std::pair<std::string_view, const char*> groups[] = {
    {"golden", "golden files: make, check"},
    {"study", "one question asked of every recipe: schemes"},
};

constexpr int max_threads = 4096;

/// The parser of "golden make" hangs under a parser named "golden", made when first needed.
CLI::App& parser_for(CLI::App& app, const Command& command) {
  const std::size_t space = command.name.find(' ');
  if (space == std::string_view::npos)
    return *app.add_subcommand(std::string(command.name), std::string(command.summary));
  const std::string group(command.name.substr(0, space));
  const auto made = app.get_subcommands([&](CLI::App* child) { return child->get_name() == group; });
  const char* summary = std::ranges::find(groups, group, [](const auto& g) { return g.first; })->second;
  CLI::App* parent = made.empty() ? app.add_subcommand(group, summary) : made.front();
  return *parent->require_subcommand(1)->add_subcommand(std::string(command.name.substr(space + 1)),
                                                        std::string(command.summary));
}

/// --json has stdout to itself.
void refuse_output_to_stdout(const CLI::App& command) {
  for (const char* name : {"--output", "--report", "--junit", "--csv"}) {
    const CLI::Option* option = command.get_option_no_throw(name);
    if (option && option->count() > 0 && option->results().front() == "-")
      throw UsageError(std::string(name) + " -: expected a file, because --json prints to stdout");
  }
}

Json machine() {
  Isa best = Isa::portable;
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::amx})
    if (cpu_kernels(isa)) best = isa;
  return {{"isa", name(best)}, {"cores", std::thread::hardware_concurrency()}, {"threads", threads()}};
}

void print(const Outcome& outcome, const Program& program, std::span<char*> arguments) {
  if (!program.json) {
    (outcome.to_stdout ? std::cerr : std::cout) << outcome.text;
  } else {
    Json json = outcome.json;
    json["version"] = NVFP4_VERSION;
    json["command"] = std::vector<std::string>(arguments.begin(), arguments.end());
    json["machine"] = machine();
    std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  }
  if (!std::cout.flush()) throw UsageError("stdout: cannot write: expected an open file or pipe with room");
}

/// CLI11 would call an unknown command a missing one, and find what stands behind it first.
std::string explain(const CLI::ParseError& error, const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty() || error.get_name() == "ExtrasError") return error.what();
  const bool is_option = unknown.front().starts_with('-');
  return (is_option ? "unknown option '" : "unknown command '") + unknown.front() + "'";
}

std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

int fail(const std::string& message) {
  std::cerr << "nvfp4: " << one_line(message) << '\n';
  return 2;
}

int run(std::span<char*> arguments) {
  Program program;
  try {
    program.app.parse(static_cast<int>(arguments.size()), arguments.data());
  } catch (const CLI::Success& help) {
    return program.app.exit(help);
  } catch (const CLI::ParseError& error) {
    return fail(explain(error, program.app) + " (see --help)");
  }
  if (program.threads > 0) set_threads(program.threads);
  const Outcome outcome = program.run();
  print(outcome, program, arguments);
  return outcome.exit_code;
}

}  // namespace

std::span<const Command> commands() { return table; }

Program::Program() {
  app.set_version_flag("--version", "nvfp4 " NVFP4_VERSION);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 equal, clean or done; 1 differs, or a finding; 2 usage or invalid input.");
  for (const Command& command : commands()) {
    CLI::App& parser = parser_for(app, command);
    parser.add_flag("--json", json, "one JSON object on stdout, nothing else there");
    parser.add_option("--threads", threads, "threads; results never depend on it")
        ->check(CLI::Range(1, max_threads))
        ->type_name("N");
    parser.callback([this, &parser, declared = command.declare(parser)] {
      if (json) refuse_output_to_stdout(parser);
      run = declared;
    });
  }
}

}  // namespace nvfp4::cli

int main(int argc, char** argv) try {
  return nvfp4::cli::run({argv, static_cast<std::size_t>(argc)});
} catch (const std::bad_alloc&) {
  return nvfp4::cli::fail("out of memory");
} catch (const std::exception& error) {
  return nvfp4::cli::fail(error.what());
}
