#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include <nvfp4/version.hpp>

#include "tests/gpu.hpp"
#include "tests/program.hpp"

/// The program as scripts call it: exit codes, streams, options. The other cli_*_test.cpp have the commands.
using program::Arguments;
using program::has;
using program::Quantized;
using program::operator+;
using program::refusal;
using program::run;
using scratch::slurp;
using scratch::spill;
using Json = nlohmann::json;

namespace {

/// One successful call of every command.
std::vector<Arguments> every_command(const scratch::Folder& folder) {
  const std::string x = folder / "x.npy", q = folder / "q.npz", g = NVFP4_GOLDEN_DIR "/te_ref_1d/fp32.npz";
  return {{"quantize", x, "--force", "-o", folder / "again.npz"},
          {"dequantize", q, "--force", "-o", folder / "y.npy"},
          {"golden", "make", "--pack", "ties", "--force", "-o", folder / "g.npz"},
          {"golden", "check", g, "--producer", "te_ref_1d", "--inputs",
           NVFP4_GOLDEN_DIR "/inputs/inputs_fp32.npz"},
          {"explain", "5", "--amax", "6"},
          {"inspect", q},
          {"dialects"},
          {"diff", q, q},
          {"identify", "--packed", q, "--input", x},
          {"linear", "--x", x, "--w", x, "--dy", folder / "dy.npy", "--force", "-o", folder / "layer.npz"},
          {"gemm", q, q, "--force", "-o", folder / "d.npy"},
          {"bound", "--k", "512"},
          {"bound", q, q},
          {"mma", NVFP4_GOLDEN_DIR "/mma_sim/probes_nvfp4.npz", "--model", "sm100_nvfp4"},
          {"completion", "bash"},
          {"study", "schemes", "--tokens", "16", "--in", "16", "--out", "16", "--draws", "1"},
          {"bench", "quantize", "--rows", "32", "--cols", "256", "--repetitions", "1"}};
}

/// A terminal with nobody at it.
class Terminal {
 public:
  Terminal() : master_(::posix_openpt(O_RDWR | O_NOCTTY)) {
    ::grantpt(master_);
    ::unlockpt(master_);
    path_ = ::ptsname(master_);
    slave_ = ::open(path_.c_str(), O_RDWR | O_NOCTTY);
  }
  ~Terminal() {
    ::close(slave_);
    ::close(master_);
  }
  const std::string& path() const { return path_; }
  std::string shown() {
    std::string text(4096, '\0');
    const ssize_t size = ::read(master_, text.data(), text.size());
    return text.substr(0, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  }

 private:
  int master_, slave_ = -1;
  std::string path_;
};

std::string shown_on_terminal(const Arguments& arguments, const std::vector<std::string>& environment) {
  Terminal terminal;
  CHECK(run(arguments, {.out = terminal.path(), .environment = environment}).exit_code == 0);
  return terminal.shown();
}

}  // namespace

TEST_CASE("cli: --version and --help") {
  CHECK(run({"--version"}).out == "nvfp4 " NVFP4_VERSION "\n");
  const auto help = run({"--help"});
  CHECK(help.exit_code == 0);
  for (const std::string command : {"verify", "quantize", "dequantize", "golden", "explain", "inspect",
                                    "dialects", "completion", "bench", "mma", "gemm", "bound", "study"}) {
    CHECK(has(help.out, "\n  " + command));
    CHECK(run({command, "--help"}).exit_code == 0);
  }
  for (const Arguments& command :
       {Arguments{"verify"}, {"quantize"}, {"golden", "make"}, {"golden", "check"}}) {
    const std::string text = run(command + Arguments{"--help"}).out;
    for (const std::string option : {"--json", "--threads", "--device", "--force"}) CHECK(has(text, option));
  }
}

TEST_CASE("cli: usage errors are exit 2 and one line") {
  CHECK(has(refusal({}), "--help"));
  CHECK(has(refusal({"nope"}), "'nope'"));
  CHECK(has(refusal({"golden"}), "--help"));
  CHECK(has(refusal({"golden", "nope"}), "'nope'"));
  CHECK(has(refusal({"--nope"}), "--nope"));
  for (const Arguments& command : every_command(scratch::Folder())) {
    CAPTURE(command.front());
    CHECK(has(refusal(command + Arguments{"--nope"}), "--nope"));
    CHECK(has(refusal(command + Arguments{"--threads", "0"}), "--threads"));
    CHECK(has(refusal(command + Arguments{"--threads", "many"}), "--threads"));
  }
  CHECK(has(refusal({"verify", "--nope"}), "--nope"));
}

TEST_CASE("cli: a command that is not built is unknown") {
  const std::string help = run({"--help"}).out;
  for (const std::string command : {"serve", "train"}) {
    CHECK(!has(help, "\n  " + command));
    CHECK(has(refusal({command}), "'" + command + "'"));
    CHECK(has(refusal({command, "quantize"}), "'" + command + "'"));
  }
}

TEST_CASE("cli: --json is one object and alone on stdout") {
  const Quantized q;
  for (const Arguments& command : every_command(q.folder)) {
    CAPTURE(command.front());
    const auto ran = run(command + Arguments{"--json", "--threads", "1"});
    CHECK(ran.exit_code == 0);
    CHECK(ran.err == "");
    const Json json = program::json_of(ran);
    REQUIRE(json.is_object());
    CHECK(json.value("version", "") == NVFP4_VERSION);
    CHECK(json.value("/machine/threads"_json_pointer, 0) == 1);
    CHECK(json.value("command", Json()) ==
          Json(Arguments{NVFP4_PROGRAM} + command + Arguments{"--json", "--threads", "1"}));
  }
}

TEST_CASE("cli: escape codes on a terminal only and never with NO_COLOR") {
  const Quantized q;
  for (const Arguments& command : every_command(q.folder)) {
    CAPTURE(command.front());
    const auto ran = run(command);
    CHECK(ran.exit_code == 0);
    CHECK(!ran.out.empty());
    CHECK(!has(ran.out + ran.err, "\033"));
  }
  const Arguments check = every_command(q.folder)[3];
  CHECK(has(shown_on_terminal(check, {}), "\033[32mequal\033[0m"));
  CHECK(has(shown_on_terminal(check, {"NO_COLOR="}), "\033[32mequal\033[0m"));
  const std::string plain = shown_on_terminal(check, {"NO_COLOR=1"});
  CHECK(has(plain, "19 equal"));
  CHECK(!has(plain, "\033"));
}

TEST_CASE("cli: --device names a layer and never falls back") {
  const Quantized q;
  const std::string x = q.folder / "x.npy", out = q.folder / "out.npz";
  for (const Arguments& command :
       {Arguments{"verify"},
        {"quantize", x, "-o", out},
        {"dequantize", q.folder / "q.npz", "-o", out},
        {"golden", "make", "-o", out},
        {"gemm", q.folder / "q.npz", q.folder / "q.npz", "-o", out},
        {"mma", NVFP4_GOLDEN_DIR "/mma_sim/probes_nvfp4.npz", "--model", "exact", "-o", out},
        {"golden", "check", q.folder / "q.npz"}}) {
    CAPTURE(command.front());
    const bool here = gpu_layer::kernels() != nullptr;
    if (!here && command.back() != q.folder / "q.npz")
      CHECK(has(refusal(command + Arguments{"--device", "gpu"}), "GPU"));
    if (!here) CHECK(refusal(command + Arguments{"--device", "gpu"}).starts_with("nvfp4: "));
    CHECK(refusal(command + Arguments{"--device", "nope"}).starts_with("nvfp4: "));
  }
  CHECK(!std::filesystem::exists(out));
}

TEST_CASE("cli: an existing output is refused and left as it was") {
  const Quantized q;
  for (const std::string& name : {q.folder / "again.npz", q.folder / "y.npy", q.folder / "report.html"})
    spill(name, "old");
  const std::size_t entries = q.folder.entries();
  const std::vector<Arguments> writes = {{"quantize", q.folder / "x.npy", "-o", q.folder / "again.npz"},
                                         {"dequantize", q.folder / "q.npz", "-o", q.folder / "y.npy"},
                                         {"verify", "--report", q.folder / "report.html"}};
  for (const Arguments& command : writes) {
    CAPTURE(command.front());
    CHECK(has(refusal(command), command.back() + ": output: expected no file"));
    CHECK(slurp(command.back()) == "old");
  }
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(run(writes[i] + Arguments{"--force"}).exit_code == 0);
    CHECK(slurp(writes[i].back()) != "old");
  }
  CHECK(q.folder.entries() == entries);
  CHECK(has(refusal({"quantize", q.folder / "x.npy", "-o", "/nonexistent/o.npz"}), "/nonexistent/o.npz"));
  CHECK(has(refusal({"quantize", q.folder / "x.npy", "-o", q.folder / "o.txt"}), ".npz or .safetensors"));
}

TEST_CASE("cli: - is stdin or stdout") {
  const Quantized q;
  const program::Surroundings x{.in = q.folder / "x.npy"}, packed{.in = q.folder / "q.npz"};
  const auto quantized = run({"quantize", "-", "-o", "-"}, x);
  CHECK(quantized.exit_code == 0);
  CHECK((quantized.out == slurp(q.folder / "q.npz")));
  CHECK(has(quantized.err, "37 x 52"));
  REQUIRE(run({"dequantize", q.folder / "q.npz", "-o", q.folder / "y.npy"}).exit_code == 0);
  CHECK((run({"dequantize", "-", "-o", "-"}, packed).out == slurp(q.folder / "y.npy")));
  CHECK(has(run({"inspect", "-"}, packed).out, "37 x 52"));
  CHECK(has(refusal({"inspect", "-"}), "stdin"));
  CHECK(has(refusal({"quantize", "-", "-o", "-", "--json"}, x), "--output"));
  CHECK(has(refusal({"dequantize", "-", "-o", "-", "--json"}, packed), "--output"));
  CHECK(has(refusal({"verify", "--report", "-", "--json"}), "--report"));
}
