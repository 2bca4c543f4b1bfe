#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

/// Each of these lets a compiler change a written operation's result.
constexpr std::string_view licences[] = {"-Ofast",
                                         "-ffast-math",
                                         "-funsafe-math-optimizations",
                                         "-fassociative-math",
                                         "-freciprocal-math",
                                         "-ffinite-math-only",
                                         "-fno-signed-zeros",
                                         "-fno-honor-nans",
                                         "-fno-honor-infinities",
                                         "-ffp-model=fast",
                                         "-ffp-model=aggressive",
                                         "-fdenormal-fp-math=preserve-sign",
                                         "-fdenormal-fp-math=positive-zero",
                                         "-mdaz-ftz",
                                         "-mfpmath=387",
                                         "-fsingle-precision-constant"};

std::vector<std::string> offences(const std::string& command) {
  std::vector<std::string> found;
  std::string contraction = "-ffp-contract missing";
  std::istringstream words(command);
  for (std::string word; words >> word;) {
    if (std::ranges::count(licences, word)) found.push_back(word);
    if (word.starts_with("-ffp-contract=")) contraction = word;
  }
  if (contraction != "-ffp-contract=off") found.push_back(contraction);
  return found;
}

/// The same of nvcc, whose host flags come in one word with commas.
std::vector<std::string> device_offences(std::string command) {
  constexpr std::string_view host = "-Xcompiler=";
  std::ranges::replace(command, ',', ' ');
  std::vector<std::string> found;
  std::istringstream words(command);
  std::string without_prefix;
  bool fuses = true;
  for (std::string word; words >> word;) {
    for (const std::string_view flag : {"use_fast_math", "ftz=true", "prec-div=false", "prec-sqrt=false"})
      if (word.ends_with(flag)) found.push_back(word);
    if (word.find("fmad=") != std::string::npos) fuses = !word.ends_with("fmad=false");
    without_prefix += ' ';
    without_prefix += word.starts_with(host) ? word.substr(host.size()) : word;
  }
  if (fuses) found.push_back("--fmad=false missing");
  std::ranges::copy(offences(without_prefix), std::back_inserter(found));
  return found;
}

struct Command {
  std::string file, text;
};

/// The compile commands of this build, less those of the probe, which are wrong on purpose.
std::vector<Command> commands() {
  std::ifstream in(NVFP4_BUILD_DIR "/compile_commands.json");
  std::vector<Command> all;
  for (const auto& entry : nlohmann::json::parse(in)) {
    Command c{entry["file"], entry["command"]};
    if (!c.file.ends_with("/fences/probe.cpp")) all.push_back(std::move(c));
  }
  return all;
}

}  // namespace

TEST_CASE("fences: every translation unit is compiled with each operation one rounding") {
  const auto all = commands();
  for (const Command& c : all) {
    CAPTURE(c.file);
    CHECK((c.file.ends_with(".cu") ? device_offences(c.text) : offences(c.text)) ==
          std::vector<std::string>{});
  }
  for (const std::string layer : {"src", "src/isa", "src/io", "src/cli", "reference", "tests"}) {
    CAPTURE(layer);
    const std::string folder = NVFP4_SOURCE_DIR "/" + layer + "/";
    CHECK(std::ranges::any_of(all, [&](const Command& c) { return c.file.starts_with(folder); }));
  }
}

TEST_CASE("fences: a wrong flag and a lost one are noticed") {
  const std::string good = "c++ -O3 -mfma -ffp-contract=off -fno-fast-math -c x.cpp";
  CHECK(offences(good).empty());
  for (std::string_view flag : licences) CHECK(offences(good + " " + std::string(flag)).size() == 1);
  CHECK(offences("c++ -O3 -c x.cpp") == std::vector<std::string>{"-ffp-contract missing"});
  CHECK(offences(good + " -ffp-contract=fast") == std::vector<std::string>{"-ffp-contract=fast"});
  CHECK(offences(good + " -ffp-contract=on").size() == 1);
}

TEST_CASE("fences: a wrong flag of nvcc and a lost one are noticed") {
  const std::string good = "nvcc -O3 --fmad=false -Xcompiler=-Wall,-ffp-contract=off -c x.cu";
  CHECK(device_offences(good).empty());
  for (const char* flag :
       {"--use_fast_math", "-use_fast_math", "--ftz=true", "-prec-div=false", "--prec-sqrt=false",
        "-fmad=true", "-Xcompiler=-Wall,-ffast-math", "-Xcompiler=-ffp-contract=fast"})
    CHECK(device_offences(good + " " + flag).size() == 1);
  CHECK(device_offences("nvcc -Xcompiler=-ffp-contract=off -c x.cu").size() == 1);
  CHECK(device_offences("nvcc --fmad=false -c x.cu").size() == 1);
}

TEST_CASE("fences: no library of this process flushes subnormals") {
  volatile float smallest_normal = std::numeric_limits<float>::min();
  volatile float smallest = std::numeric_limits<float>::denorm_min();
  CHECK(smallest_normal * 0.5f == 0x1p-127f);  // FTZ
  CHECK(smallest * 2.0f == 0x1p-148f);         // DAZ
}
