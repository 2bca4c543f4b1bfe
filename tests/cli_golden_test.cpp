#include <doctest/doctest.h>

#include <algorithm>
#include <iterator>
#include <sstream>

#include <nvfp4/io.hpp>
#include <nvfp4/layout.hpp>

#include "tests/gpu.hpp"
#include "tests/program.hpp"
#include "tests/rewrite.hpp"

/// `nvfp4 golden check`, as scripts call it.
using namespace nvfp4;
using program::Arguments;
using program::operator+;
using program::refusal;
using program::run;
using scratch::rewrite;
using scratch::slurp;
using scratch::spill;
using Json = nlohmann::json;

namespace {

const std::string golden = NVFP4_GOLDEN_DIR;

std::string file_of(const std::string& producer, const std::string& dtype) {
  return golden + "/" + producer + "/" + dtype + ".npz";
}

Arguments check_of(const std::string& file, const std::string& producer = "te_ref_1d",
                   const std::string& dtype = "fp32") {
  return {"golden",
          "check",
          file,
          "--producer",
          producer,
          "--inputs",
          golden + "/inputs/inputs_" + dtype + ".npz"};
}

std::string text_of(const io::Array& array) {
  return {reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size()};
}

/// What somebody's kernel left in memory for the case "normal", and its input.
struct Dump {
  explicit Dump(const scratch::Folder& folder)
      : input(folder / "x.npy"), codes(folder / "codes"), scales(folder / "scales") {
    const auto file = io::open_arrays(file_of("te_ref_1d", "fp32"));
    io::write_matrix(input,
                     io::golden_input(*io::open_arrays(golden + "/inputs/inputs_fp32.npz"), "normal").view(),
                     io::Overwrite::no);
    spill(codes, text_of(file->read("normal/packed")));
    spill(scales, text_of(file->read("normal/scales")));
  }
  Arguments check() const {
    return {"golden", "check",   "--codes", codes,        "--scales",
            scales,   "--input", input,     "--producer", "te_ref_1d"};
  }
  std::string input, codes, scales;
};

void flip(const std::string& path, std::size_t at) {
  std::string text = slurp(path);
  REQUIRE(at < text.size());
  text[at] = static_cast<char>(text[at] ^ 0x10);
  spill(path, text);
}

}  // namespace

TEST_CASE("cli golden check: every golden file holds") {
  struct Expected {
    std::string producer;
    int cases, refused, arrays;
  };
  for (const Expected& e : {Expected{"te_ref_1d", 19, 0, 127}, Expected{"te_ref_2d", 17, 2, 119},
                            Expected{"te_ref_rowscaled", 19, 0, 127}})
    for (const std::string dtype : {"fp32", "bf16"}) {
      CAPTURE(e.producer);
      CAPTURE(dtype);
      const auto ran = run(check_of(file_of(e.producer, dtype), e.producer, dtype) + Arguments{"--json"});
      CHECK(ran.exit_code == 0);
      CHECK(ran.err == "");
      const Json json = program::json_of(ran);
      CHECK(json.value("cases", -1) == e.cases);
      CHECK(json.value("equal", -1) == e.cases);
      CHECK(json.value("refused", -1) == e.refused);
      CHECK(json.value("arrays", -1) == e.arrays);
      CHECK(json.value("differing_bytes", -1) == 0);
      CHECK(json.value("not_run", -1) == 0);
      CHECK(json.value("first", Json(1)).is_null());
    }
}

TEST_CASE("cli golden check: one flipped byte in any array is found") {
  const scratch::Folder folder;
  const std::string bad = folder / "bad.npz";
  for (const std::string array :
       {"packed", "scales", "global", "dequant", "col_packed", "col_scales", "col_global"}) {
    CAPTURE(array);
    std::size_t middle = 0;
    rewrite(file_of("te_ref_1d", "fp32"), bad, "normal/" + array, [&](auto bytes) {
      middle = bytes.size() / 2;
      bytes[middle] ^= 0x10;
    });
    const auto ran = run(check_of(bad) + Arguments{"--json"});
    CHECK(ran.exit_code == 1);
    const Json json = program::json_of(ran);
    REQUIRE(json.contains("first"));
    CHECK(json.value("cases", -1) == 19);
    CHECK(json.value("equal", -1) == 18);
    CHECK(json.value("differing_bytes", -1) == 1);
    const Json first = json["first"];
    CHECK(first.value("case", "") == "normal");
    CHECK(first.value("array", "") == array);
    CHECK((first.value("expected", 0u) ^ first.value("actual", 0u)) ==
          0x10u << (array.ends_with("packed") || array.ends_with("scales") ? 0 : 8 * (middle % 4)));
    CHECK(run(check_of(bad)).out.find("case normal, array " + array + " at (") != std::string::npos);
  }
}

TEST_CASE("cli golden check: the explain line of a difference runs") {
  const scratch::Folder folder;
  rewrite(file_of("te_ref_1d", "bf16"), folder / "bad.npz", "heavy/packed",
          [](auto bytes) { bytes[9] ^= 0x40; });
  const Json first = program::json(check_of(folder / "bad.npz", "te_ref_1d", "bf16")).value("first", Json());
  std::istringstream words(first.value("explain", ""));
  Arguments arguments{std::istream_iterator<std::string>(words), {}};
  REQUIRE(arguments.size() > 2);
  CHECK(arguments[0] == "nvfp4");
  arguments.erase(arguments.begin());
  const Json explained = program::json(arguments);
  REQUIRE(explained.contains("values"));
  CHECK(explained["values"][0].value("code", 99) == first.value("actual", 0) >> 4);
}

TEST_CASE("cli golden check: a NaN scale has no sign and nothing else is forgiven") {
  const scratch::Folder folder;
  std::size_t flipped = 0;
  rewrite(file_of("te_ref_1d", "fp32"), folder / "nan.npz", "nonfinite/scales", [&](auto bytes) {
    for (std::uint8_t& byte : bytes)
      if ((byte & 0x7F) == 0x7F) byte ^= 0x80, ++flipped;
  });
  CHECK(flipped > 0);
  CHECK(run(check_of(folder / "nan.npz")).exit_code == 0);
  rewrite(file_of("te_ref_1d", "fp32"), folder / "sign.npz", "normal/scales",
          [](auto bytes) { bytes[0] ^= 0x80; });
  CHECK(run(check_of(folder / "sign.npz")).exit_code == 1);
}

TEST_CASE("cli golden check: values allows codes under a zero scale and no others") {
  const scratch::Folder folder;
  const std::string scales =
      text_of(io::open_arrays(file_of("te_ref_1d", "fp32"))->read("zero_blocks/scales"));
  const std::size_t zero = scales.find('\0');
  REQUIRE(zero != std::string::npos);
  rewrite(file_of("te_ref_1d", "fp32"), folder / "inert.npz", "zero_blocks/packed",
          [&](auto bytes) { bytes[8 * zero] ^= 0x05; });
  CHECK(run(check_of(folder / "inert.npz")).exit_code == 1);
  const auto ran = run(check_of(folder / "inert.npz") + Arguments{"--compare", "values", "--json"});
  CHECK(ran.exit_code == 0);
  CHECK(program::json_of(ran).value("/inert/codes_under_zero_scale"_json_pointer, -1) == 1);
  rewrite(file_of("te_ref_1d", "fp32"), folder / "bad.npz", "normal/packed",
          [](auto bytes) { bytes[0] ^= 0x05; });
  CHECK(run(check_of(folder / "bad.npz") + Arguments{"--compare", "values"}).exit_code == 1);
  CHECK(refusal(check_of(folder / "bad.npz") + Arguments{"--compare", "nope"}).find("--compare nope") !=
        std::string::npos);
}

TEST_CASE("cli golden check: another producer's bytes differ") {
  CHECK(run(check_of(file_of("te_ref_1d", "fp32"), "te_ref_2d")).exit_code == 1);
  CHECK(run({"golden", "check", file_of("te_ref_2d", "fp32"), "--dialect", "te_ref", "--columns", "--inputs",
             golden + "/inputs/inputs_fp32.npz"})
            .exit_code == 1);
  CHECK(run({"golden", "check", file_of("te_ref_1d", "fp32"), "--dialect", "te_ref", "--columns", "--inputs",
             golden + "/inputs/inputs_fp32.npz"})
            .exit_code == 0);
}

TEST_CASE("cli golden check: an unreadable file is exit 2 and named") {
  const scratch::Folder folder;
  const std::string whole = slurp(file_of("te_ref_1d", "fp32")), cut = folder / "cut.npz";
  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    CAPTURE(size);
    spill(cut, whole.substr(0, size));
    CHECK(refusal(check_of(cut)).find(cut) != std::string::npos);
    CHECK(
        refusal({"golden", "check", file_of("te_ref_1d", "fp32"), "--producer", "te_ref_1d", "--inputs", cut})
            .find(cut) != std::string::npos);
  }
  CHECK(refusal(check_of(folder / "none.npz")).find(folder / "none.npz") != std::string::npos);
  CHECK(refusal(check_of(golden + "/files/golden_form.npz")).find("golden_form.npz") != std::string::npos);
}

TEST_CASE("cli golden check: what it cannot do is refused") {
  const std::string file = file_of("te_ref_1d", "fp32");
  CHECK(refusal({"golden", "check"}).find("expected FILE") != std::string::npos);
  CHECK(refusal({"golden", "check", file, "--producer", "te_ref_1d"}).find("--inputs") != std::string::npos);
  CHECK(refusal({"golden", "check", file, "--inputs", golden + "/inputs/inputs_fp32.npz"})
            .find("no manifest") != std::string::npos);
  CHECK(refusal(check_of(file, "nope")).find("te_ref_rowscaled") != std::string::npos);
  if (!gpu_layer::kernels())
    CHECK(refusal(check_of(file) + Arguments{"--device", "gpu"}).find("GPU") != std::string::npos);
  for (const std::string option : {"--layout", "--mask", "--input", "--array", "--tensor", "--input-dtype"})
    CHECK(refusal(check_of(file) + Arguments{option, "linear"}).find(option + " is for raw dumps") !=
          std::string::npos);
}

TEST_CASE("cli golden check: the file comes through a pipe too") {
  program::Surroundings around;
  around.in = file_of("te_ref_2d", "bf16");
  CHECK(program::json_of(run(check_of("-", "te_ref_2d", "bf16") + Arguments{"--json"}, around))
            .value("equal", -1) == 17);
}

TEST_CASE("cli golden check: raw dumps") {
  const scratch::Folder folder;
  const Dump dump(folder);
  CHECK(run(dump.check()).exit_code == 0);
  flip(dump.codes, 77);
  const auto ran = run(dump.check() + Arguments{"--json"});
  CHECK(ran.exit_code == 1);
  CHECK(program::json_of(ran).value("differing_bytes", -1) == 1);
  CHECK(program::json_of(ran).value("/first/array"_json_pointer, "") == "packed");
  spill(dump.codes, slurp(dump.codes) + "x");
  CHECK(refusal(dump.check()).find(dump.codes + ": file size: expected") != std::string::npos);
  CHECK(refusal(dump.check() + Arguments{"--inputs", dump.input}).find("either FILE or raw dumps") !=
        std::string::npos);
  CHECK(refusal({"golden", "check", "--codes", dump.codes}).find("--input X") != std::string::npos);
}

TEST_CASE("cli golden check: padding of dumped scales") {
  const scratch::Folder folder;
  const Dump dump(folder);
  const auto input = io::load_matrix(dump.input);
  const std::int64_t blocks = (input.cols + 15) / 16;
  const std::string linear = slurp(dump.scales);
  std::vector<std::uint8_t> tiled = to_layout(
      ScaleLayout::tiled_128x4, std::vector<std::uint8_t>(linear.begin(), linear.end()), input.rows, blocks);
  std::vector<bool> scale_at(tiled.size());
  for (std::int64_t row = 0; row < input.rows; ++row)
    for (std::int64_t col = 0; col < blocks; ++col)
      scale_at[static_cast<std::size_t>(offset(ScaleLayout::tiled_128x4, row, col, blocks))] = true;
  const auto pad =
      static_cast<std::size_t>(std::find(scale_at.begin(), scale_at.end(), false) - scale_at.begin());
  REQUIRE(pad < tiled.size());
  const Arguments check = dump.check() + Arguments{"--layout", "128x4"};
  spill(dump.scales, std::string(tiled.begin(), tiled.end()));
  CHECK(run(check).exit_code == 0);
  flip(dump.scales, pad);
  CHECK(run(check).exit_code == 1);
  CHECK(run(check + Arguments{"--mask", "padding"}).exit_code == 0);
}

TEST_CASE("cli golden check: a JUnit report") {
  const scratch::Folder folder;
  const std::string report = folder / "report.xml";
  const Arguments check = check_of(file_of("te_ref_2d", "fp32"), "te_ref_2d") + Arguments{"--junit", report};
  CHECK(run(check).exit_code == 0);
  const std::string xml = slurp(report);
  CHECK(xml.find("tests=\"19\" failures=\"0\" errors=\"0\" skipped=\"2\"") != std::string::npos);
  spill(report, "old");
  CHECK(refusal(check).find(report) != std::string::npos);
  CHECK(slurp(report) == "old");
  CHECK(run(check + Arguments{"--force"}).exit_code == 0);
  CHECK(slurp(report) == xml);

  Arguments to_stdout = check;
  to_stdout.back() = "-";
  const auto ran = run(to_stdout);
  CHECK(ran.out == xml);
  CHECK(ran.err.find("17 cases, 17 equal") != std::string::npos);
  CHECK(refusal(to_stdout + Arguments{"--json"}).find("--junit") != std::string::npos);
}
