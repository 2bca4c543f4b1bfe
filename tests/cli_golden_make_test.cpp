#include <doctest/doctest.h>

#include <nvfp4/io.hpp>
#include <nvfp4/producers.hpp>

#include "tests/program.hpp"
#include "tests/rewrite.hpp"

/// `nvfp4 golden make`, as scripts call it, and `nvfp4 golden check` of what it wrote.
using namespace nvfp4;
using program::Arguments;
using program::operator+;
using program::refusal;
using program::run;
using scratch::rewrite;
using scratch::slurp;
using scratch::spill;
using Json = nlohmann::json;

TEST_CASE("cli golden make: its file holds by every producer and input dtype") {
  const scratch::Folder folder;
  const std::string file = folder / "g.npz";
  for (const Producer& producer : producers())
    for (const std::string dtype : {"float32", "float16", "bf16"}) {
      CAPTURE(producer.name);
      CAPTURE(dtype);
      const Json made =
          program::json({"golden", "make", "-o", file, "--force", "--producer", std::string(producer.name),
                         "--input-dtype", dtype, "--pack", "ties,zeros,ragged,nonfinite"});
      CHECK(made.value("producer", "") == producer.name);
      const Json checked = program::json({"golden", "check", file});
      CHECK(made.value("cases", -1) > 0);
      CHECK(checked.value("cases", -2) == made.value("cases", -1));
      CHECK(checked.value("equal", -2) == made.value("cases", -1));
      CHECK(checked.value("refused", 99u) == made.value("refused", Json::array()).size());
    }
}

TEST_CASE("cli golden make: a flipped byte of its own file is found") {
  const scratch::Folder folder;
  REQUIRE(run({"golden", "make", "-o", folder / "g.npz", "--pack", "ties"}).exit_code == 0);
  const auto file = io::open_arrays(folder / "g.npz");
  for (const std::string& name : file->names()) {
    if (name.ends_with("/input") || name == "manifest") continue;
    CAPTURE(name);
    rewrite(folder / "g.npz", folder / "bad.npz", name, [](auto bytes) { bytes.back() ^= 0x01; });
    CHECK(run({"golden", "check", folder / "bad.npz"}).exit_code == 1);
  }
}

TEST_CASE("cli golden make: the same bytes however it is run") {
  const scratch::Folder folder;
  const Arguments make = {"golden", "make", "--seed", "5", "--dialect", "te", "-o"};
  REQUIRE(run(make + Arguments{folder / "g.npz"}).exit_code == 0);
  const std::string bytes = slurp(folder / "g.npz");
  for (const Arguments& how :
       {Arguments{}, {"--threads", "1"}, {"--threads", "2"}, {"--threads", "7"}, {"--device", "reference"}}) {
    CHECK(run(make + Arguments{folder / "again.npz", "--force"} + how).exit_code == 0);
    CHECK((slurp(folder / "again.npz") == bytes));
  }
  CHECK((run(make + Arguments{"-"}).out == bytes));
  REQUIRE(run({"golden", "make", "--seed", "6", "--dialect", "te", "-o", folder / "other.npz"}).exit_code ==
          0);
  CHECK((slurp(folder / "other.npz") != bytes));
}

TEST_CASE("cli golden make: what the manifest says of a transform suffices to check it") {
  const scratch::Folder folder;
  const Arguments transform = {"--rht", "32", "--rht-signs", "seed"};
  const std::string file = folder / "g.npz";
  REQUIRE(run(Arguments{"golden", "make", "--seed", "9", "-o", file} + transform).exit_code == 0);
  CHECK(run({"golden", "check", file}).exit_code == 0);
  CHECK(run(Arguments{"golden", "check", file, "--seed", "9"} + transform).exit_code == 0);
  CHECK(run(Arguments{"golden", "check", file, "--seed", "8"} + transform).exit_code == 1);
}

TEST_CASE("cli golden make: refusals") {
  const scratch::Folder folder;
  const Arguments make = {"golden", "make", "-o", folder / "g.npz"};
  CHECK(refusal(make + Arguments{"--pack", "nope"}).find("'nope': expected one of ties") !=
        std::string::npos);
  CHECK(refusal(make + Arguments{"--kind", "gemm"}).find("--kind gemm") != std::string::npos);
  CHECK(refusal(make + Arguments{"--dialect", "nope"}).find("te_ref") != std::string::npos);
  CHECK(refusal(make + Arguments{"--seed", "-1"}).find("--seed") != std::string::npos);
  CHECK(refusal(make + Arguments{"--device", "gpu"}).find("GPU") != std::string::npos);
  CHECK(refusal({"golden", "make"}).find("--output") != std::string::npos);
  CHECK(refusal({"golden", "make", "-o", "-", "--json"}).find("--output") != std::string::npos);
  CHECK(folder.entries() == 0);

  REQUIRE(run(make + Arguments{"--pack", "ties"}).exit_code == 0);
  for (const Arguments& option : {Arguments{"--rounding", "up"}, {"--rht", "3"}})
    CHECK(refusal({"golden", "check", folder / "g.npz", option[0], option[1]}).find(option[0]) !=
          std::string::npos);
  spill(folder / "g.npz", "old");
  CHECK(refusal(make).find(folder / "g.npz") != std::string::npos);
  CHECK(slurp(folder / "g.npz") == "old");
  CHECK(folder.entries() == 1);
}
