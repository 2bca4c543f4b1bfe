#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>
#include <nvfp4/testing.hpp>

#include "tests/markdown.hpp"
#include "tests/program.hpp"

/// docs/checking-a-kernel.md: every block is an excerpt of a file that is built, or a command that runs.
namespace {

const std::string root = NVFP4_SOURCE_DIR "/", example = root + "tests/example/";

struct Ran {
  int exit_code;
  std::string out;
};

/// In the folder, with `nvfp4` and `kernel` (its twin on the host) in PATH.
Ran shell(const scratch::Folder& folder, const std::string& command) {
  const std::string programs =
      std::filesystem::path(NVFP4_PROGRAM).parent_path().string() + ":" NVFP4_EXAMPLE_DIR;
  const std::string line = "cd '" + folder / "" + "' && PATH='" + programs +
                           "':/usr/bin:/bin && export PATH && (" + command + ") > out 2> err";
  const int status = std::system(line.c_str());
  return {status < 0 ? -1 : WEXITSTATUS(status), scratch::slurp(folder / "out")};
}

/// What testing::compare says of te's bytes where the paper's are expected.
std::string te_for_paper() {
  for (const nvfp4::Case& c : nvfp4::make_cases("ties", nvfp4::Dtype::fp32, 0))
    if (c.name == "ties/e4m3") {
      const nvfp4::QuantizeSpec paper{.dialect = nvfp4::find_dialect("paper")};
      const nvfp4::Kernels& kernels = nvfp4::reference_kernels();
      return nvfp4::testing::compare(kernels.quantize(c.input.view(), {}, {}),
                                     kernels.quantize(c.input.view(), paper, {}), c.input.view())
          .message;
    }
  return "";
}

bool is_part_of(const std::string& text, const char* file) {
  return program::has(scratch::slurp(example + file), text);
}

}  // namespace

TEST_CASE("checking a kernel: every block of the page is true") {
  const scratch::Folder folder;
  int blocks = 0;
  for (const markdown::Block& block :
       markdown::code_blocks(scratch::slurp(root + "docs/checking-a-kernel.md"))) {
    CAPTURE(block.text);
    ++blocks;
    if (block.language == "cpp")
      CHECK(is_part_of(block.text, "kernel.cu"));
    else if (block.language == "cmake")
      CHECK(is_part_of(block.text, "CMakeLists.txt"));
    else if (block.language == "sh")
      CHECK(scratch::slurp(example + "check.sh") == block.text);
    else if (block.language == "yaml")
      CHECK(scratch::slurp(example + "ci.yml") == block.text);
    else if (block.language == "text")
      CHECK(te_for_paper() == block.text);
    else if (block.language == "console")
      for (const markdown::Session& s : markdown::sessions(block.text))
        CHECK(shell(folder, s.command).out == s.output);
    else
      FAIL("a block of no language that this test knows: " << block.language);
  }
  CHECK(blocks == 9);
}

TEST_CASE("checking a kernel: the script passes the right bytes and no others") {
  const scratch::Folder folder;
  const std::string script = example + "check.sh";
  const auto cases = [&] { return std::stoi(shell(folder, "ls *.xml | wc -l").out); };
  CHECK(shell(folder, script + " kernel").exit_code == 0);
  CHECK(cases() == 5);
  CHECK(program::has(scratch::slurp(folder / "random-normal.xml"), "tests=\"1\" failures=\"0\""));

  scratch::spill(folder / "wrong",
                 "#!/bin/sh\nkernel \"$@\" && printf '\\001' | dd of=codes.bin bs=1 seek=9 conv=notrunc\n");
  CHECK(shell(folder, "chmod +x wrong && " + script + " ./wrong").exit_code == 1);
  CHECK(program::has(scratch::slurp(folder / "random-normal.xml"), "tests=\"1\" failures=\"1\""));
  CHECK(cases() == 5);
}

TEST_CASE("checking a kernel: the workflow runs the script") {
  CHECK(is_part_of("run: ./check.sh build/kernel\n", "ci.yml"));
  CHECK(is_part_of("add_executable(kernel kernel.cu)\n", "CMakeLists.txt"));
}
