#include <doctest/doctest.h>

#include <cstring>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4;
using namespace nvfp4::io;
using scratch::refusal;

namespace {

const std::string files = NVFP4_GOLDEN_DIR "/files/";

void check_ramp(const Matrix& m, std::int64_t rows, std::int64_t cols) {
  REQUIRE(m.rows == rows);
  REQUIRE(m.cols == cols);
  REQUIRE(m.dtype == Dtype::fp32);
  for (std::int64_t i = 0; i < rows * cols; ++i) CHECK(m.f32()[i] == static_cast<float>(i));
}

}  // namespace

TEST_CASE("matrix: from every container") {
  check_ramp(load_matrix(files + "type_f4.npy"), 3, 5);
  check_ramp(load_matrix(files + "fortran.npy"), 3, 5);
  check_ramp(load_matrix(files + "stored.npz", {.array = "a"}), 3, 5);
  check_ramp(load_matrix(files + "deflated.npz", {.array = "a"}), 3, 5);
  check_ramp(load_matrix(files + "package.safetensors", {.tensor = "float"}), 3, 5);
  CHECK(load_matrix(files + "type_f2.npy").dtype == Dtype::fp16);
  CHECK(load_matrix(files + "package.safetensors", {.tensor = "brain"}).dtype == Dtype::bf16);
}

TEST_CASE("matrix: leading dimensions are flattened") {
  check_ramp(load_matrix(files + "rank_4.npy"), 6, 4);
  CHECK(load_matrix(files + "fortran_rank3.npy").rows == 6);
}

TEST_CASE("matrix: uint16 is BF16 where that is asked for") {
  const Matrix m = load_matrix(files + "type_u2.npy", {.input_dtype = Dtype::bf16});
  CHECK(m.dtype == Dtype::bf16);
  for (std::uint16_t i = 0; i < 15; ++i) CHECK(m.u16()[i] == i);
}

TEST_CASE("matrix: the view is the file and its sha256 that of the file") {
  const MatrixFile m = open_matrix(files + "type_f4.npy");
  CHECK(m.view.data == m.file.data() + 128);
  // sha256sum type_f4.npy
  CHECK(sha256(m.file.view()) == "f9050b520478976de81b9a16535184e18f8c66c887c3753ad4449d6f67260950");
}

TEST_CASE("matrix: what is no matrix is refused with a hint") {
  struct Row {
    const char* file;
    MatrixSelection selection;
    std::string says;
  };
  const Row rows[] = {
      {"type_f8.npy", {}, "float64: round it once, with astype(float32)"},
      {"type_u2.npy",
       {},
       "array: expected float32, float16, or input dtype bf16 for BF16 bits, found uint16"},
      {"type_i4.npy", {}, "array: expected float32, float16 or BF16, found int32"},
      {"type_u2.npy",
       {.input_dtype = Dtype::fp32},
       "expected fp32 elements, as the input dtype asks, found uint16"},
      {"type_u2.npy", {.input_dtype = Dtype::fp16}, "expected fp16 elements"},
      {"type_f4.npy",
       {.input_dtype = Dtype::bf16},
       "expected bf16 elements, as the input dtype asks, found float32"},
      {"rank_0.npy", {}, "expected 2 or more dimensions, found shape ()"},
      {"rank_1.npy", {}, "expected 2 or more dimensions, found shape (7,)"},
      {"no_rows.npy", {}, "expected at least one row and one column, found shape (0, 4)"},
      {"no_columns.npy", {}, "expected at least one row and one column, found shape (4, 0)"},
      {"stored.npz", {}, "file: expected the name of the array to read, found none, and 3 to choose from"},
      {"package.safetensors", {}, "expected the name of the tensor to read, found none, and 7"},
      {"stored.npz", {.array = "x"}, "array 'x': expected one of the file's 3 arrays"},
      {"stored.npz", {.tensor = "a"}, "tensor 'a': expected a .safetensors or .gguf file, found .npz"},
      {"type_f4.npy", {.array = "a"}, "array 'a': expected an .npz file, found .npy"},
      {"package.safetensors", {.array = "a"}, "array 'a': expected an .npz file, found .safetensors"},
      {"package.safetensors", {.tensor = "codes"}, "array 'codes': expected 2 or more dimensions"},
      {"package.safetensors", {.tensor = "scales"}, "expected float32, float16 or BF16, found float8_e4m3fn"},
  };
  for (const Row& row : rows) {
    const std::string found = refusal([&] { open_matrix(files + row.file, row.selection); });
    CAPTURE(row.says);
    CAPTURE(found);
    CHECK(found.starts_with(files + row.file + ": "));
    CHECK(found.find(row.says) != std::string::npos);
  }
}

TEST_CASE("matrix: written and read back") {
  const scratch::Folder folder;
  for (const Dtype dtype : {Dtype::fp32, Dtype::fp16, Dtype::bf16}) {
    Matrix m(3, 7, dtype);
    for (std::size_t i = 0; i < m.bytes.size(); ++i) m.bytes[i] = static_cast<std::byte>(i * 37);
    for (const char* name : {"m.npy", "m.npz", "m.safetensors"}) {
      CAPTURE(name);
      write_matrix(folder / name, m.view(), Overwrite::yes);
      const Matrix back = load_matrix(folder / name, {.input_dtype = dtype});
      CHECK(back.rows == 3);
      CHECK(back.cols == 7);
      CHECK(back.dtype == dtype);
      CHECK(back.bytes == m.bytes);
      CHECK(open_arrays(folder / name)->names()[0] == (std::string(name) == "m.npy" ? "" : "dequant"));
    }
  }
  CHECK(refusal([&] {
          write_matrix(folder / "m.txt", Matrix(1, 1).view(), Overwrite::no);
        }).find("an ending .npy, .npz or .safetensors") != std::string::npos);
}
