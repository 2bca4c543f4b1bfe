#include <doctest/doctest.h>
#include <nvfp4/stack.hpp>

#include <stdexcept>

#include <nlohmann/json.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/program.hpp"

/// Stacks of experts (E, M, K), each expert with a second-level scale of its own.
using namespace nvfp4;
using program::Arguments;
using program::has;
using program::operator+;
using nlohmann::json;
using program::refusal;
using program::run;

namespace {

using Shape = std::vector<std::int64_t>;
constexpr std::int64_t experts = 3, rows = 5, cols = 40;

/// x.npy, (3, 5, 40): each expert 10 times as large as the one before.
struct Stack {
  Stack() : x(experts * rows, cols) {
    for (std::int64_t i = 0; i < x.rows * x.cols; ++i)
      x.f32()[i] = static_cast<float>(i * 7919 % 1009 - 504) * (i < 200 ? 1.f : i < 400 ? 10.f : 100.f);
    io::write_stack(folder / "x.npy", x.view(), experts, io::Overwrite::no);
  }
  Arguments quantize(const std::string& out = "q.npz") const {
    return {"quantize", folder / "x.npy", "-o", folder / out, "--experts"};
  }
  MatrixView expert(std::int64_t e) const { return {x.f32() + e * rows * cols, rows, cols, Dtype::fp32}; }
  scratch::Folder folder;
  Matrix x;
};

void check_equal(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  CHECK(a.spec.dialect == b.spec.dialect);
  CHECK((a.codes == b.codes));
  CHECK((a.scales == b.scales));
  CHECK((a.global == b.global));
}

std::string text_of(const io::Array& array) {
  return {reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size()};
}

/// q.npz of a stack in which one array or the manifest is bent: what its reader says.
struct Bent {
  Bent() {
    REQUIRE(run(stack.quantize() + Arguments{"--layout", "8x4"}).exit_code == 0);
    const auto file = io::open_arrays(stack.folder / "q.npz");
    for (const std::string& name : file->names()) arrays.push_back(file->read(name));
  }
  io::Array& at(const std::string& name) {
    return *std::find_if(arrays.begin(), arrays.end(), [&](const auto& a) { return a.info.name == name; });
  }
  void manifest(const json& m) {
    io::Array& array = at("manifest");
    array.bytes = scratch::bytes(m.dump());
    array.info.shape = {static_cast<std::int64_t>(array.bytes.size())};
  }
  std::string says() {
    std::vector<io::ArrayView> views;
    for (const io::Array& a : arrays) views.push_back({a.info, a.bytes.view()});
    io::write_npz(stack.folder / "bent.npz", views, io::Overwrite::yes);
    return scratch::refusal([&] { io::read_stack(*io::open_arrays(stack.folder / "bent.npz")); });
  }
  Stack stack;
  std::vector<io::Array> arrays;
};

}  // namespace

TEST_CASE("stack: each expert is quantized as if it were alone") {
  const Stack stack;
  for (const QuantizeSpec& spec :
       {QuantizeSpec{}, QuantizeSpec{.block = {16, 16}}, QuantizeSpec{.tensor_scale = TensorScale::row}}) {
    const auto all = quantize_stack(stack.x.view(), experts, spec, cpu_kernels());
    REQUIRE(all.size() == experts);
    for (std::int64_t e = 0; e < experts; ++e)
      check_equal(all[e], reference_kernels().quantize(stack.expert(e), spec, {}));
    CHECK(all[0].global != all[1].global);
    const Matrix values = dequantize_stack(all, cpu_kernels());
    const Matrix last = reference_kernels().dequantize(all[2]);
    CHECK(std::equal(last.bytes.begin(), last.bytes.end(), values.bytes.end() - rows * cols * 4));
  }
  CHECK_THROWS_AS(quantize_stack(stack.x.view(), 4, {}, cpu_kernels()), std::invalid_argument);
  CHECK_THROWS_AS(quantize_stack(stack.x.view(), 0, {}, cpu_kernels()), std::invalid_argument);
  CHECK_THROWS_AS(quantize_stack(stack.x.view(), 3, {.amax = 1.0f}, cpu_kernels()), std::invalid_argument);
}

TEST_CASE("stack: through files and the program") {
  const Stack stack;
  for (const std::string name : {"q.npz", "q.safetensors"}) {
    const json ran = program::json(stack.quantize(name) + Arguments{"--layout", "128x4"});
    CHECK(ran.value("experts", 0) == experts);
    CHECK(ran.value("rows", 0) == rows);
    const auto file = io::open_arrays(stack.folder / name);
    CHECK(file->info("packed").shape == Shape{3, 5, 24});
    CHECK(file->info("scales").shape == Shape{3, 5, 3});
    CHECK(file->info("global").shape == Shape{3});
    CHECK(file->info("scales_swizzled").shape == Shape{3, 128, 4});
    const json manifest = json::parse(text_of(file->read("manifest")));
    CHECK(manifest["shape"] == json{3, 5, 40});
    CHECK(manifest["options"] == json{{"dtype", "fp32"}, {"experts", 3}, {"tensor_scale", "tensor"}});
    CHECK(io::holds_stack(*file));
    const io::QuantizedStack back = io::read_stack(*file);
    CHECK(back.layout == ScaleLayout::tiled_128x4);
    REQUIRE(back.experts.size() == experts);
    for (std::int64_t e = 0; e < experts; ++e)
      check_equal(back.experts[e], reference_kernels().quantize(stack.expert(e), {}, {}));
    CHECK(scratch::refusal([&] {
            io::read_quantized(*file);
          }).ends_with("array 'manifest': expected one matrix, found a stack of 3 experts"));

    CHECK(program::json({"dequantize", stack.folder / name, "-o", stack.folder / "y.npy", "--force"})
              .value("experts", 0) == experts);
    CHECK(io::open_arrays(stack.folder / "y.npy")->info("").shape == Shape{3, 5, 40});
    CHECK((io::load_matrix(stack.folder / "y.npy").bytes ==
           dequantize_stack(back.experts, reference_kernels()).bytes));
  }
  CHECK(run(stack.quantize() + Arguments{"--tensor-scale", "row", "--force"}).exit_code == 0);
  const auto file = io::open_arrays(stack.folder / "q.npz");
  CHECK(file->info("global").shape == Shape{3, 5});
  CHECK(io::read_stack(*file).experts[1].global.size() == rows);
}

TEST_CASE("stack: inspect tells of all experts together") {
  const Stack stack;
  REQUIRE(run(stack.quantize()).exit_code == 0);
  const json seen = program::json({"inspect", stack.folder / "q.npz"});
  CHECK(seen.value("shape", json()) == json{experts, rows, cols});
  CHECK(seen.value("global_count", 0) == experts);
  CHECK(seen.value("/scales/blocks"_json_pointer, 0) == experts * rows * 3);
  CHECK(has(run({"inspect", stack.folder / "q.npz"}).out, "3 x 5 x 40"));
}

TEST_CASE("stack: without --experts the leading dimensions are one matrix") {
  const Stack stack;
  CHECK(run({"quantize", stack.folder / "x.npy", "-o", stack.folder / "q.npz"}).exit_code == 0);
  const auto file = io::open_arrays(stack.folder / "q.npz");
  CHECK(!io::holds_stack(*file));
  check_equal(io::read_quantized(*file).rows, reference_kernels().quantize(stack.x.view(), {}, {}));
  CHECK(scratch::refusal([&] {
          io::read_stack(*file);
        }).ends_with("array 'manifest': expected a stack of experts, found one matrix"));
}

TEST_CASE("stack: what does not go with --experts is refused") {
  const Stack stack;
  for (const Arguments& more : {Arguments{"--columns"},
                                {"--transpose"},
                                {"--tensor-amax", "1"},
                                {"--producer", "te_ref_1d"},
                                {"--format", "modelopt"},
                                {"--include", "*"}})
    CHECK(has(refusal(stack.quantize() + more), more[0] + " is for one matrix, not for a stack"));
  const program::Input flat(16, 32);
  CHECK(has(refusal(flat.quantize() + Arguments{"--experts"}),
            "expected shape (experts, rows, columns) for --experts, found (16, 32)"));
}

TEST_CASE("stack: hostile files") {
  struct Row {
    const char* pointer;
    json value;
    std::string says;
  };
  Bent bent;
  CHECK(bent.says() == "");
  const json good = json::parse(text_of(bent.at("manifest")));
  for (const Row& row : {
           Row{"/options/experts", 0, "'options.experts': expected an integer from 1 to"},
           Row{"/options/experts", "3", "'options.experts': expected an integer from 1 to"},
           Row{"/options/experts", 2, "'shape': expected an integer from 2 to 2, found 3"},
           Row{"/shape", {3, 5}, "'shape': expected [experts, rows, columns], found [3,5]"},
           Row{"/shape", {3, 4, 40}, "array 'packed': expected uint8 (3, 4, 24), found uint8 (3, 5, 24)"},
           Row{"/shape", {3, 0, 40}, "'shape': expected an integer from 1 to"},
           Row{"/layout", "linear", "array 'scales_swizzled': expected no such array"},
           Row{"/layout", "128x4",
               "array 'scales_swizzled': expected uint8 (3, 128, 4), found uint8 (3, 8, 4)"},
           Row{"/options/tensor_scale", "row", "array 'global': expected float32 (3, 5), found float32 (3,)"},
       }) {
    CAPTURE(row.says);
    json m = good;
    m[json::json_pointer(row.pointer)] = row.value;
    bent.manifest(m);
    CHECK(has(bent.says(), row.says));
  }
  json huge = good;
  huge["options"]["experts"] = huge["shape"][0] = std::int64_t{1} << 48;
  bent.manifest(huge);
  CHECK(has(bent.says(), "array 'packed': expected uint8 (281474976710656, 5, 24)"));

  Bent swizzled;
  std::string bytes = text_of(swizzled.at("scales_swizzled"));
  bytes[40] = static_cast<char>(bytes[40] ^ 1);
  swizzled.at("scales_swizzled").bytes = scratch::bytes(bytes);
  CHECK(has(swizzled.says(), "array 'scales_swizzled': expected the bytes of array 'scales' in layout 8x4"));
}

TEST_CASE("stack: golden check takes the dumps of all experts") {
  const Stack stack;
  REQUIRE(run(stack.quantize() + Arguments{"--layout", "8x4"}).exit_code == 0);
  const auto file = io::open_arrays(stack.folder / "q.npz");
  std::string codes = text_of(file->read("packed"));
  scratch::spill(stack.folder / "codes", codes);
  scratch::spill(stack.folder / "scales", text_of(file->read("scales_swizzled")));
  const Arguments check = {
      "golden",   "check", "--codes", stack.folder / "codes", "--scales", stack.folder / "scales",
      "--layout", "8x4",   "--input", stack.folder / "x.npy"};
  const json right = program::json(check + Arguments{"--experts"});
  CHECK(right.value("cases", 0) == experts);
  CHECK(right.value("equal", 0) == experts);
  CHECK(has(refusal(check),
            "scales: file size: expected 64 bytes, found 96"));  // as one matrix it has other padding
  codes[2 * 5 * 24 + 30] = static_cast<char>(codes[2 * 5 * 24 + 30] ^ 0x01);
  scratch::spill(stack.folder / "codes", codes);
  const json bent = program::json(check + Arguments{"--experts"});
  CHECK(bent.value("equal", 0) == 2);
  CHECK(bent.value("/first/case"_json_pointer, "") == "expert 2");
  CHECK(bent.value("/first/row"_json_pointer, 0) == 1);
  CHECK(has(refusal({"golden", "check", stack.folder / "q.npz", "--experts"}), "--experts is for raw dumps"));
}
