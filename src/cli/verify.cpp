#include "verify.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include <CLI/App.hpp>
#include <nvfp4/dialects/all.hpp>
#include <nvfp4/io.hpp>

#include "device.hpp"
#include "number.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string level = "quick", device = "cpu", report;
  std::uint64_t seed = 0;
  bool force = false;
};

/// The reference as a device is held against itself: that shows no more than that it repeats.
std::vector<Layer> layers_of(const std::string& device) {
  const Kernels& kernels = kernels_of(device);
  std::vector<Layer> layers;
  if (device == "reference") layers.push_back({"reference", &reference_kernels()});
  if (device == "cpu")
    for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512, Isa::amx})
      layers.push_back({"cpu " + std::string(name(isa)), cpu_kernels(isa)});
  layers.push_back({"gpu", device == "gpu" ? &kernels : nullptr});
  return layers;
}

Verification verify(const Options& o) {
  if (o.level != "quick" && o.level != "full")
    throw UsageError("--level " + o.level + ": expected quick or full");
  const std::vector<Layer> layers = layers_of(o.device);
  Verification v{.full = o.level == "full", .seed = o.seed};
  Progress progress("verify");
  const auto total = static_cast<std::int64_t>(all_dialects().size() + 2);
  std::int64_t done = 0;
  for (const Dialect* dialect : all_dialects()) {
    progress.show(done++, total, dialect->name);
    verify_dialect(*dialect, layers, v);
  }
  progress.show(done++, total, "formats");
  verify_formats(layers, v);
  progress.show(done, total, "training");
  verify_products(layers, v);
  verify_training(layers, v);
  if (o.device == "gpu") verify_instructions(v);
  return v;
}

/// Columns of the longest name, and a space.
std::size_t name_width(const Verification& v) {
  std::size_t width = 12;
  for (const VerifyRow& row : v.rows)
    if (!row.not_run) width = std::max(width, row.what.size() + 1);
  return width;
}

std::string line(const VerifyRow& row, std::size_t width) {
  const Colour colour = row.differing_bytes ? Colour::red : Colour::green;
  return left(row.what, width) + left(row.layer, 14) + right(thousands(row.cases), 8) +
         right(thousands(row.equal), 9) + coloured(colour, right(thousands(row.differing_bytes), 17)) + "\n";
}

std::string table(const Verification& v) {
  const std::size_t width = name_width(v);
  std::string text = v.gpu.empty() ? "" : "gpu: " + v.gpu + "\n";
  text += left("", width) + left("layer", 14) + right("cases", 8) + right("equal", 9) +
          right("differing bytes", 17) + "\n";
  std::map<std::string, std::int64_t> not_run;
  for (const VerifyRow& row : v.rows)
    if (row.not_run)
      not_run[row.layer] += row.not_run;
    else
      text += line(row, width);
  for (const std::string& note : v.notes) text += note + "\n";
  for (const auto& [layer, cases] : not_run)
    text +=
        coloured(Colour::dim, left("", width) + left(layer, 14) + "not run: " + thousands(cases) + " cases") +
        "\n";
  return text;
}

std::string summary(const Verification& v) {
  const VerifyRow total = v.total();
  std::string text = thousands(total.cases) + " cases, " + thousands(total.equal) + " equal, " +
                     thousands(total.differing_bytes) + " differing bytes; " + thousands(total.not_run) +
                     " not run\n";
  if (!v.text.empty()) text += "first: " + v.text + "\n";
  return text +
         (total.differing_bytes ? coloured(Colour::red, "differs") : coloured(Colour::green, "equal")) + "\n";
}

Json to_json(const VerifyRow& row) {
  Json json;
  if (!row.what.empty()) json = {{"what", row.what}, {"layer", row.layer}};
  json.update(Json{{"cases", row.cases},
                   {"equal", row.equal},
                   {"differing_bytes", row.differing_bytes},
                   {"not_run", row.not_run}});
  return json;
}

Outcome run(const Options& o) {
  std::optional<io::OutputFile> report;  // refused before the work, not after
  if (!o.report.empty()) report.emplace(o.report, o.force ? io::Overwrite::yes : io::Overwrite::no);
  const Verification v = verify(o);
  if (report) {
    report->write(html_report(v));
    report->commit();
  }
  Outcome outcome{.exit_code = v.total().differing_bytes ? 1 : 0};
  outcome.to_stdout = o.report == "-";
  outcome.json = to_json(v.total());
  outcome.json.update(Json{{"refused", 0}, {"first", v.first}, {"level", o.level}, {"rows", Json::array()}});
  for (const VerifyRow& row : v.rows) outcome.json["rows"].push_back(to_json(row));
  if (!v.notes.empty()) outcome.json["notes"] = v.notes;
  outcome.text = table(v) + summary(v);
  return outcome;
}

}  // namespace

VerifyRow Verification::total() const {
  VerifyRow sum;
  for (const VerifyRow& row : rows) {
    sum.cases += row.cases;
    sum.equal += row.equal;
    sum.differing_bytes += row.differing_bytes;
    sum.not_run += row.not_run;
  }
  return sum;
}

void Tally::count(std::int64_t differing_bytes, const std::function<void(Json&, std::string&)>& explain) {
  ++row_.cases;
  row_.equal += differing_bytes == 0;
  row_.differing_bytes += differing_bytes;
  if (!differing_bytes || !verification_.text.empty()) return;
  verification_.first = {{"what", row_.what}, {"layer", row_.layer}};
  verification_.text = row_.what + " on " + row_.layer + ", ";
  explain(verification_.first, verification_.text);
  verification_.first["text"] = verification_.text;
}

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  const auto loop = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> workers;
  for (int i = 1; i < threads(); ++i) workers.emplace_back(loop);
  loop();
  for (std::thread& worker : workers) worker.join();
}

Run declare_verify(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("--level", o->level, "quick|full: seconds, or minutes with more inputs")
      ->capture_default_str();
  app.add_option("--report", o->report, "write one self-contained HTML page there");
  app.add_option("--seed", o->seed, "of the random cases")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--force", o->force, "replace an existing report");
  declare_device(app, o->device);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
