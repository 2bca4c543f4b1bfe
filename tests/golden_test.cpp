#include <doctest/doctest.h>

#include <memory>
#include <string>

#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/one_nan.hpp"
#include "tests/program.hpp"

using namespace nvfp4;

/// The producers' own bytes: tests/golden, made by their code (tests/golden/README.md).
namespace {

const std::string folder = NVFP4_GOLDEN_DIR;

std::unique_ptr<io::ArrayFile> open(const std::string& producer, const std::string& dtype) {
  return io::open_arrays(folder + "/" + producer + "/" + dtype + ".npz");
}

std::string difference(const BlockScaledTensor& golden, const BlockScaledTensor& ours) {
  const Difference d = compare(one_nan(golden), one_nan(ours));
  return d.equal() ? "" : describe(*d.first);
}

std::string difference(MatrixView golden, const Matrix& ours) {
  Matrix settled(golden.rows, golden.cols);
  for (std::int64_t i = 0; i < golden.rows * golden.cols; ++i)
    settle_nan(settled.f32()[i] = static_cast<const float*>(golden.data)[i]);
  const Difference d = compare(settled.view(), ours.view(), "dequant");
  return d.equal() ? "" : describe(*d.first);
}

/// Every array that the file has for this case, bit for bit.
void check_case(const io::ArrayFile& golden, const Producer& producer, const io::GoldenCase& c,
                const Matrix& x, const Kernels& kernels) {
  CAPTURE(producer.name);
  CAPTURE(c.name);
  CAPTURE(kernels.name);
  const ProducerResult ours = quantize(producer, x.view(), kernels);
  const BlockScaledTensor rows = io::read_tensor(golden, c.name + "/", producer.spec, x.rows, x.cols);
  CHECK(difference(rows, ours.rows) == "");
  if (golden.contains(c.name + "/dequant")) {
    const io::Array dequant = golden.read(c.name + "/dequant");
    CHECK(difference(io::as_matrix(dequant), kernels.dequantize(ours.rows)) == "");
  }
  const bool has_columns = golden.contains(c.name + "/col_packed");
  REQUIRE(has_columns == ours.columns.has_value());
  if (has_columns)
    CHECK(difference(io::read_tensor(golden, c.name + "/col_", producer.spec, x.cols, x.rows),
                     *ours.columns) == "");
}

void check_file(const Producer& producer, const std::string& dtype, const Kernels& kernels) {
  const auto golden = open(std::string(producer.name), dtype);
  const auto inputs = open("inputs", "inputs_" + dtype);
  const auto cases = io::golden_cases(*golden);
  CHECK(cases.size() >= 16);
  for (const io::GoldenCase& c : cases)
    check_case(*golden, producer, c, io::golden_input(*inputs, c.name), kernels);
}

}  // namespace

TEST_SUITE("golden") {
  TEST_CASE("every producer's bytes by every layer" * doctest::test_suite("golden sweep")) {
    for (const Producer& producer : producers())
      for (const std::string dtype : {"fp32", "bf16"})
        for (const Kernels* kernels :
             {&reference_kernels(), cpu_kernels(Isa::portable), cpu_kernels(Isa::avx2),
              cpu_kernels(Isa::avx512), cpu_kernels(Isa::amx)})
          if (kernels) check_file(producer, dtype, *kernels);
  }

  TEST_CASE("golden check holds on every file, extra arrays included") {
    for (const Producer& producer : producers())
      for (const std::string dtype : {"fp32", "bf16"}) {
        CAPTURE(producer.name);
        const std::string name(producer.name);
        const auto ran =
            program::run({"golden", "check", folder + "/" + name + "/" + dtype + ".npz", "--inputs",
                          folder + "/inputs/inputs_" + dtype + ".npz", "--producer", name});
        CHECK(ran.exit_code == 0);
        CHECK(program::has(ran.out, " 0 differing bytes"));
      }
  }
}
