#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include <CLI/App.hpp>
#include <nvfp4/kernels.hpp>

#include "bench_gemm.hpp"
#include "command.hpp"
#include "sgemm.hpp"

namespace nvfp4::cli {

double Timed::median() const {
  std::vector<double> sorted = rates;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

namespace {

struct Options {
  std::string name = "quantize";
  std::int64_t rows = 16384, cols = 8192;
  int size = 2048, repetitions = 9;
};

/// Values with every exponent that a layer's activations have; a constant would flatter no kernel, but a
/// denormal or a NaN would slow some.
Matrix values(std::int64_t rows, std::int64_t cols, Dtype dtype) {
  Matrix x(rows, cols, dtype);
  std::uint64_t state = 1;
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
    const auto bits = static_cast<std::uint32_t>(state >> 32);
    const std::uint32_t pattern = (bits & 0x807FFFFF) | (118 + bits % 11) << 23;
    if (dtype == Dtype::fp32)
      std::memcpy(x.f32() + i, &pattern, 4);
    else
      x.u16()[i] = static_cast<std::uint16_t>(pattern >> 16);
  }
  return x;
}

/// The rows of one dtype and thread count, their repetitions interleaved so that drift meets all alike.
std::vector<Timed> time_quantizers(const Matrix& x, int thread_count, int repetitions, Progress& progress) {
  set_threads(thread_count);
  const std::string suffix = "/" + std::string(name(x.dtype));
  std::vector<Timed> rows = {{"copy" + suffix, "", thread_count, {}},
                             {"amax_read" + suffix, "", thread_count, {}}};
  std::vector<const Kernels*> kernels;
  for (const Isa isa : {Isa::avx512, Isa::avx2, Isa::portable})
    if (cpu_kernels(isa)) {
      kernels.push_back(cpu_kernels(isa));
      rows.push_back({"quantize" + suffix + "/" + std::string(name(isa)), "amax_read", thread_count, {}});
    }
  std::vector<std::byte> copy(x.bytes.size());
  BlockScaledTensor out;
  const auto rate = [&](auto work) { return static_cast<double>(x.bytes.size()) * 1e-9 / seconds(work); };
  for (int i = 0; i < repetitions; ++i) {
    progress.show(i, repetitions, "repetitions" + suffix);
    rows[0].rates.push_back(rate([&] { std::memcpy(copy.data(), x.bytes.data(), copy.size()); }));
    rows[1].rates.push_back(rate([&] { cpu_kernels().amax(x.view(), dialects::te::info); }));
    for (std::size_t k = 0; k < kernels.size(); ++k)
      rows[k + 2].rates.push_back(rate([&] { out = kernels[k]->quantize(x.view(), {}, std::move(out)); }));
  }
  return rows;
}

/// What training adds, held against te's plain rows: stochastic rounding, and in BF16 a wgrad operand, whose RHT goes
/// along tokens and whose transpose is quantized.
std::vector<Timed> time_training(const Matrix& x, int thread_count, int repetitions, Progress& progress) {
  set_threads(thread_count);
  const Kernels& k = cpu_kernels();
  const Hadamard rht{.sum = HadamardSum::tensor_core, .along = Along::tokens};
  QuantizeSpec sr;
  sr.stochastic = Stochastic{};
  BlockScaledTensor out, columns;
  std::vector<std::pair<std::string, std::function<void()>>> work = {
      {"te_rows", [&] { out = k.quantize(x.view(), {}, std::move(out)); }},
      {"stochastic", [&] { out = k.quantize(x.view(), sr, std::move(out)); }}};
  if (x.dtype == Dtype::bf16) {
    work.emplace_back("transposed",
                      [&] { columns = k.quantize_transposed(x.view(), {}, std::move(columns)); });
    work.emplace_back("rht", [&] { k.hadamard(x.view(), rht); });
    work.emplace_back("transposed_rht",
                      [&] { columns = k.quantize_transformed(x.view(), rht, {}, std::move(columns)); });
  }
  const std::string suffix = "/" + std::string(name(x.dtype));
  std::vector<Timed> rows;
  for (const auto& [what, run] : work)
    rows.push_back({what + suffix, what == "te_rows" ? "" : "te_rows", thread_count, {}});
  for (int i = 0; i < repetitions; ++i) {
    progress.show(i, repetitions, "repetitions" + suffix);
    for (std::size_t w = 0; w < work.size(); ++w)
      rows[w].rates.push_back(static_cast<double>(x.bytes.size()) * 1e-9 / seconds(work[w].second));
  }
  return rows;
}

/// Every dialect by the best instruction set, held against te. Wide or narrow elements read the same bytes.
std::vector<Timed> time_dialects(const Matrix& x, int thread_count, int repetitions, Progress& progress) {
  set_threads(thread_count);
  const auto name_of = [&](const Dialect* d) {
    return std::string(d->name) + "/" + std::string(name(x.dtype));
  };
  std::vector<Timed> rows;
  for (const Dialect* d : all_dialects())
    rows.push_back({name_of(d), d == &dialects::te::info ? "" : "te", thread_count, {}});
  BlockScaledTensor out;
  for (int i = 0; i < repetitions; ++i) {
    progress.show(i, repetitions, "repetitions/" + std::string(name(x.dtype)));
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const QuantizeSpec spec = default_spec(*all_dialects()[k]);
      const double time = seconds([&] { out = cpu_kernels().quantize(x.view(), spec, std::move(out)); });
      rows[k].rates.push_back(static_cast<double>(x.bytes.size()) * 1e-9 / time);
    }
  }
  return rows;
}

/// The row that the others are held against.
double limit_of(const std::vector<Timed>& rows) {
  for (const Timed& row : rows)
    for (const Timed& other : rows)
      if (other.limit == row.name.substr(0, row.name.find('/'))) return row.median();
  return 0;
}

Json to_json(const Timed& row, double limit_rate) {
  Json json = {{"name", row.name}, {"threads", row.threads}, {"rate", row.median()}, {"unit", row.unit}};
  if (row.limit.empty()) return json;
  json.update({{"limit", row.limit}, {"limit_rate", limit_rate}, {"ratio", row.median() / limit_rate}});
  return json;
}

std::string to_text(const Timed& row, double limit_rate) {
  char line[120], ratio[40] = "";
  if (!row.limit.empty())
    std::snprintf(ratio, sizeof ratio, "%8.3f of %s", row.median() / limit_rate, row.limit.c_str());
  std::snprintf(line, sizeof line, "%-26s %2d %s %8.2f %s%s\n", row.name.c_str(), row.threads,
                row.threads == 1 ? "thread " : "threads", row.median(),
                std::string(row.unit.substr(0, row.unit.find(' '))).c_str(), ratio);
  return line;
}

void refuse_rows(const Options& o) {
  if (o.name == "training" && o.rows % 16)
    throw UsageError("--rows " + std::to_string(o.rows) + ": RHT along tokens needs multiples of 16");
}

std::vector<Timed> time_rows(const Options& o, const Matrix& x, int thread_count, Progress& progress) {
  if (o.name == "quantize") return time_quantizers(x, thread_count, o.repetitions, progress);
  if (o.name == "training") return time_training(x, thread_count, o.repetitions, progress);
  return time_dialects(x, thread_count, o.repetitions, progress);
}

void append(Outcome& outcome, const std::vector<Timed>& rows) {
  const double limit = limit_of(rows);
  for (const Timed& row : rows) {
    outcome.json["results"].push_back(to_json(row, limit));
    outcome.text += to_text(row, limit);
  }
}

/// By one thread, then by all.
template <class Time>
void by_threads(Outcome& outcome, Time time) {
  const int all = threads();
  for (const int thread_count : all == 1 ? std::vector{1} : std::vector{1, all})
    append(outcome, time(thread_count));
  set_threads(all);
}

void run_gemm(Outcome& outcome, const Options& o, Progress& progress) {
  const GemmBench bench(o.size);
  by_threads(outcome, [&](int n) { return bench.time(n, o.repetitions, progress); });
  outcome.json["size"] = o.size;
  outcome.json["not_run"] = Json::array();
  for (const std::string& missing : missing_sgemms()) {
    outcome.json["not_run"].push_back(missing);
    outcome.text += "not run: " + missing + '\n';
  }
}

void run_quantizers(Outcome& outcome, const Options& o, Progress& progress) {
  refuse_rows(o);
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16}) {
    const Matrix x = values(o.rows, o.cols, dtype);
    by_threads(outcome, [&](int n) { return time_rows(o, x, n, progress); });
  }
  outcome.json["rows"] = o.rows;
  outcome.json["cols"] = o.cols;
}

Outcome run(const Options& o) {
  Outcome outcome;
  outcome.json["results"] = Json::array();
  Progress progress("bench");
  (o.name == "gemm" ? run_gemm : run_quantizers)(outcome, o, progress);
  outcome.json["repetitions"] = o.repetitions;
  return outcome;
}

}  // namespace

Run declare_bench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option(
         "NAME", o->name,
         "what to time: te by each instruction set, every dialect, what training adds to te, or products")
      ->check(CLI::IsMember({"quantize", "dialects", "training", "gemm"}))
      ->capture_default_str();
  app.add_option("--rows", o->rows, "rows of the matrix")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--cols", o->cols, "columns of the matrix")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--size", o->size, "M, N and K of gemm")
      ->check(CLI::Range(1, 1 << 15))
      ->capture_default_str();
  app.add_option("--repetitions", o->repetitions, "of each; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.footer(
      "Rates are bytes of input read, amax pass and quantize pass both in the time, medians of interleaved\n"
      "repetitions; amax_read, the same matrix read once by the best instruction set, is the limit; of "
      "dialects\n"
      "it is te, and of training te's rows. Rates of gemm are multiply-adds of sm100_nvfp4, packing of both\n"
      "operands in the time, on block scales that span three binades (narrow), eight in one operand (hot),\n"
      "seven at random in both (wide), or all (any); the limit is the first SGEMM,\n"
      "OpenBLAS's where libopenblas.so.0 is found.");
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
