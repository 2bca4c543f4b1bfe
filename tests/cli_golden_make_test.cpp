#include <doctest/doctest.h>

#include <array>

#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/producers.hpp>

#include "tests/gpu.hpp"
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

TEST_CASE("cli golden make: products hold by what their manifest says, and d is that of the reference") {
  const scratch::Folder folder;
  const std::string file = folder / "g.npz";
  struct Case {
    Arguments options;
    const char* model;
  };
  const std::vector<Case> all = {
      {{}, "sm100_nvfp4"},
      {{"--tensor-scale", "row", "--accumulate", "exact"}, "exact"},
      {{"--block", "16x16", "--seed", "3"}, "sm100_nvfp4"},
      {{"--producer", "te_ref_4over6_mse256", "--accumulate", "sm120_nvfp4"}, "sm120_nvfp4"},
      {{"--dialect", "mxfp4_ceil"}, "sm100_mxfp4"},
      {{"--dialect", "mxfp8_floor"}, "sm100_mxf8f6f4"},
      {{"--dialect", "cutlass_epilogue"}, "sm100_nvfp4"}};
  for (const Case& each : all) {
    CAPTURE(Json(each.options).dump());
    const Json made =
        program::json(Arguments{"golden", "make", "-o", file, "--force", "--kind", "gemm"} + each.options);
    CHECK(made.value("accumulate", "") == each.model);
    for (const std::string device : {"cpu", "reference"}) {
      const Json checked = program::json({"golden", "check", file, "--device", device});
      CHECK(checked.value("equal", -1) == made.value("cases", -2));
      CHECK(checked.value("arrays", -1) == made.value("cases", -2));
    }
  }
}

TEST_CASE("cli golden make: d of a product is alpha times the sum of what the arrays decode to") {
  const scratch::Folder folder;
  REQUIRE(
      run({"golden", "make", "-o", folder / "g.npz", "--kind", "gemm", "--accumulate", "exact"}).exit_code ==
      0);
  const auto file = io::open_arrays(folder / "g.npz");
  const auto numbers = [&](const std::string& prefix, std::int64_t rows) {
    const BlockScaledTensor t = io::read_tensor(*file, prefix, {}, rows, 16);
    std::vector<double> values;
    for (std::int64_t i = 0; i < rows * 16; ++i) {
      const std::uint32_t byte = t.codes[static_cast<std::size_t>(i / 2)], code = byte >> (i % 2 * 4) & 15;
      const std::uint32_t scale = t.scales[static_cast<std::size_t>(i / 16)];
      float element = 0, of_block = 0;
      reference_kernels().decode({&code, 1}, Format::e2m1, {&element, 1});
      reference_kernels().decode({&scale, 1}, Format::e4m3, {&of_block, 1});
      values.push_back(double{element} * of_block);
    }
    return std::pair(values, t.global[0]);
  };
  const auto [a, a_amax] = numbers("one_block/a_", 8);
  const auto [b, b_amax] = numbers("one_block/b_", 8);
  const io::Array d = file->read("one_block/d");
  const auto actual = d.f32(std::array<std::int64_t, 2>{8, 8});
  const float alpha = a_amax * b_amax * (1 / (2688.f * 2688.f));
  for (std::size_t i = 0; i < 64; ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < 16; ++k) sum += a[i / 8 * 16 + k] * b[i % 8 * 16 + k];
    CHECK(actual[i] == static_cast<float>(sum) * alpha);
  }
}

TEST_CASE("cli golden make: a flipped byte of a product's file is found, whichever array it is in") {
  const scratch::Folder folder;
  const std::string good = folder / "g.npz", bad = folder / "bad.npz";
  REQUIRE(run({"golden", "make", "-o", good, "--kind", "gemm"}).exit_code == 0);
  for (const std::string name :
       {"a_packed", "a_scales", "a_global", "b_packed", "b_scales", "b_global", "d"}) {
    CAPTURE(name);
    rewrite(good, bad, "aligned/" + name, [](auto bytes) { bytes.back() ^= 0x01; });
    const Json checked = program::json({"golden", "check", bad});
    CHECK(checked.value("/first/case"_json_pointer, "") == "aligned");
    CHECK(checked.value("/first/array"_json_pointer, "") == "d");
    CHECK(checked.value("equal", 0) == 6);
  }
  rewrite(good, bad, "manifest", [](auto bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    bytes[text.find("sm100_nvfp4")] = 'x';
  });
  CHECK(refusal({"golden", "check", bad}).find("manifest field 'accumulate'") != std::string::npos);
  CHECK(refusal({"golden", "make", "-o", bad, "--force", "--kind", "gemm", "--accumulate", "sm90_bf16"})
            .find("--kind gemm: sm90_bf16: takes") != std::string::npos);
}

TEST_CASE("cli golden make: a product's file whose shapes do not fit is refused, and says where") {
  const scratch::Folder folder;
  const std::string good = folder / "g.npz", bad = folder / "bad.npz";
  REQUIRE(run({"golden", "make", "-o", good, "--kind", "gemm"}).exit_code == 0);
  const auto file = io::open_arrays(good);
  const std::vector<std::byte> zeros(4096);
  const auto refused = [&](const std::string& changed, const std::vector<std::int64_t>& shape) {
    std::vector<io::Array> arrays;
    std::vector<io::ArrayView> views;
    for (const std::string& name : file->names()) arrays.push_back(file->read(name));
    for (const io::Array& array : arrays) views.push_back({array.info, array.bytes.view()});
    for (io::ArrayView& view : views) {
      if (view.info.name != changed) continue;
      view.info.shape = shape;
      view.bytes = std::span(zeros).first(io::byte_size(view.info));
    }
    io::write_npz(bad, views, io::Overwrite::yes);
    return refusal({"golden", "check", bad});
  };
  CHECK(refused("one_block/d", {8, 7}).find("one_block/d") != std::string::npos);
  CHECK(refused("one_block/d", {64}).find("one_block/d") != std::string::npos);
  CHECK(refused("one_block/a_packed", {1, 8, 8}).find("one_block/a_packed") != std::string::npos);
  CHECK(refused("one_block/a_packed", {0, std::int64_t{1} << 50}).find("elements") != std::string::npos);
  CHECK(refused("one_block/a_packed", {8, 5}).find("one_block/a_") != std::string::npos);
  CHECK(refused("one_block/b_packed", {8, 16}).find("one_block/b_scales") != std::string::npos);
  CHECK(refused("one_block/b_global", {2}).find("one_block/b_global") != std::string::npos);
  CHECK(refused("one_block/d", {8, 8}) == "exit 1");
}

TEST_CASE("cli golden make: refusals") {
  const scratch::Folder folder;
  const Arguments make = {"golden", "make", "-o", folder / "g.npz"};
  CHECK(refusal(make + Arguments{"--pack", "nope"}).find("'nope': expected one of ties") !=
        std::string::npos);
  CHECK(refusal(make + Arguments{"--kind", "nope"}).find("--kind nope: expected quantize, rht, gemm") !=
        std::string::npos);
  CHECK(refusal(make + Arguments{"--dialect", "nope"}).find("te_ref") != std::string::npos);
  CHECK(refusal(make + Arguments{"--seed", "-1"}).find("--seed") != std::string::npos);
  if (!gpu_layer::kernels())
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
