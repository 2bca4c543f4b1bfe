#include <cstdio>
#include <memory>
#include <optional>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/layer_inputs.hpp>

#include "command.hpp"
#include "device.hpp"
#include "markup.hpp"
#include "number.hpp"
#include "recipe_argument.hpp"
#include "scheme_study.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string x, w, dy, input_dtype, data = "gaussian", csv, report, device = "cpu";
  std::vector<std::string> recipes;
  std::int64_t tokens = 256, in = 256, out = 256;
  int draws = 16;
  std::uint64_t seed = 0;
  bool force = false;
  bool has_files() const { return !x.empty(); }
  io::Overwrite overwrite() const { return force ? io::Overwrite::yes : io::Overwrite::no; }
};

struct Costed {
  std::string recipe;
  std::optional<LayerCost> cost;
  std::string refusal;  ///< where there is none
};

struct Column {
  const char *name, *title;
  double ProductCost::*value;
};

constexpr Column columns[] = {
    {"error", "error", &ProductCost::error},
    {"error_of_mean", "of mean", &ProductCost::error_of_mean},
    {"largest_error", "largest", &ProductCost::largest_error},
    {"bits_a", "bits a", &ProductCost::bits_a},
    {"bits_b", "bits b", &ProductCost::bits_b},
    {"multiplications", "mult.", &ProductCost::multiplications},
};

std::string number(double value, const char* format) {
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

Matrix load(const std::string& path, const Options& o) {
  return io::load_matrix(path, {.input_dtype = dtype_named(o.input_dtype)});
}

LayerInputs inputs_of(const Options& o) {
  if (!o.has_files()) return make_layer_inputs(o.data, o.tokens, o.in, o.out, o.seed);
  LayerInputs in{load(o.x, o), load(o.w, o), load(o.dy, o)};
  if (in.w.cols != in.x.cols || in.dy.rows != in.x.rows || in.dy.cols != in.w.rows)
    throw UsageError(o.x + ", " + o.w + ", " + o.dy +
                     ": expected X (tokens, in), W (out, in) and dY (tokens, out)");
  return in;
}

std::vector<Recipe> recipes_of(const Options& o) {
  std::vector<Recipe> chosen;
  for (const std::string& name : o.recipes) chosen.push_back(recipe_named(name));
  return o.recipes.empty() ? std::vector<Recipe>(recipes().begin(), recipes().end()) : chosen;
}

std::vector<Costed> costs(const Options& o, const std::vector<Recipe>& recipes, const SchemeStudy& study) {
  std::vector<Costed> all;
  Progress progress("study");
  for (const Recipe& recipe : recipes) {
    progress.show(static_cast<std::int64_t>(all.size()), std::ssize(recipes), recipe.name);
    try {
      all.push_back({recipe.name, study.cost(recipe, o.seed, o.draws), {}});
    } catch (const std::invalid_argument& refusal) {
      all.push_back({recipe.name, std::nullopt, refusal.what()});
    }
  }
  return all;
}

/// Calls with each recipe, product and its cost.
template <class Use>
void each_product(const std::vector<Costed>& all, const Use& use) {
  for (const Costed& c : all)
    for (std::size_t g = 0; c.cost && g < all_gemms.size(); ++g) use(c.recipe, all_gemms[g], (*c.cost)[g]);
}

std::string text_of(const std::vector<Costed>& all) {
  std::string text = left("recipe", 22) + left("GEMM", 6);
  for (const Column& column : columns) text += right(column.title, 12);
  text += '\n';
  each_product(all, [&](const std::string& recipe, Gemm gemm, const ProductCost& cost) {
    text += left(recipe, 22) + left(name(gemm), 6);
    for (const Column& column : columns) text += right(number(cost.*column.value, "%.4g"), 12);
    text += '\n';
  });
  for (const Costed& c : all)
    if (!c.cost) text += left(c.recipe, 22) + "not run: " + c.refusal + '\n';
  return text;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string csv_of(const std::vector<Costed>& all) {
  std::string text = "recipe,gemm";
  for (const Column& column : columns) text += std::string(",") + column.name;
  text += '\n';
  each_product(all, [&](const std::string& recipe, Gemm gemm, const ProductCost& cost) {
    text += quoted(recipe) + "," + std::string(name(gemm));
    for (const Column& column : columns) text += "," + number(cost.*column.value, "%.17g");
    text += '\n';
  });
  return text;
}

Json json_of(const std::vector<Costed>& all) {
  Json json{{"results", Json::array()}, {"not_run", Json::array()}};
  each_product(all, [&](const std::string& recipe, Gemm gemm, const ProductCost& cost) {
    Json row{{"recipe", recipe}, {"gemm", name(gemm)}};
    for (const Column& column : columns) row[column.name] = cost.*column.value;
    json["results"].push_back(row);
  });
  for (const Costed& c : all)
    if (!c.cost) json["not_run"].push_back({{"recipe", c.recipe}, {"reason", c.refusal}});
  return json;
}

std::string page_of(const std::vector<Costed>& all, const std::string& about) {
  std::string body =
      "<h1>nvfp4 study schemes</h1>\n<p>" + escaped(about) + "</p>\n<table><tr><th>recipe</th><th>GEMM</th>";
  for (const Column& column : columns) body += std::string("<th>") + column.title + "</th>";
  body += "</tr>\n";
  each_product(all, [&](const std::string& recipe, Gemm gemm, const ProductCost& cost) {
    body += "<tr><td>" + escaped(recipe) + "</td><td>" + std::string(name(gemm)) + "</td>";
    for (const Column& column : columns) body += "<td>" + number(cost.*column.value, "%.4g") + "</td>";
    body += "</tr>\n";
  });
  for (const Costed& c : all)
    if (!c.cost)
      body += "<tr><td>" + escaped(c.recipe) +
              "</td><td class=\"off\" colspan=\"7\">not run: " + escaped(c.refusal) + "</td></tr>\n";
  return html_page("nvfp4 study schemes", body + "</table>\n");
}

std::string about(const Options& o, const LayerInputs& in) {
  return std::to_string(in.x.rows) + " tokens, " + std::to_string(in.x.cols) + " to " +
         std::to_string(in.w.rows) + " channels, " +
         (o.has_files() ? "X of " + o.x : o.data + " data of seed " + std::to_string(o.seed)) + ", " +
         std::to_string(o.draws) + " draws";
}

/// An output that is refused before the work, not after.
std::optional<io::OutputFile> opened(const std::string& path, const Options& o) {
  if (path.empty()) return std::nullopt;
  return std::optional<io::OutputFile>(std::in_place, path, o.overwrite());
}

void commit(std::optional<io::OutputFile>& file, const std::string& text) {
  if (!file) return;
  file->write(text);
  file->commit();
}

Outcome run(const Options& o) {
  const std::vector<Recipe> recipes = recipes_of(o);
  const Kernels& kernels = kernels_of(o.device);
  const LayerInputs in = inputs_of(o);
  std::optional<io::OutputFile> csv = opened(o.csv, o), report = opened(o.report, o);
  const std::vector<Costed> all =
      costs(o, recipes, SchemeStudy(in.x.view(), in.w.view(), in.dy.view(), kernels));
  commit(csv, csv_of(all));
  commit(report, page_of(all, about(o, in)));
  Outcome outcome{.json = json_of(all), .text = about(o, in) + "\n" + text_of(all)};
  outcome.to_stdout = o.csv == "-" || o.report == "-";
  outcome.json.update(Json{{"tokens", in.x.rows},
                           {"in", in.x.cols},
                           {"out", in.w.rows},
                           {"data", o.has_files() ? Json(nullptr) : Json(o.data)},
                           {"draws", o.draws},
                           {"seed", o.seed}});
  return outcome;
}

void declare_inputs(CLI::App& app, Options& o) {
  CLI::Option *x = app.add_option("--x", o.x, "X (tokens, in): .npy, .npz or .safetensors; else --data"),
              *w = app.add_option("--w", o.w, "W (out, in)"),
              *dy = app.add_option("--dy", o.dy, "dY (tokens, out)");
  x->needs(w)->needs(dy);
  w->needs(x);
  dy->needs(x);
  app.add_option("--input-dtype", o.input_dtype, "bf16: uint16 elements are BF16 bits")->needs(x);
  const auto kinds = layer_input_kinds();
  app.add_option("--data", o.data, "an X that is made: one with what some scheme is for")
      ->check(CLI::IsMember(std::vector<std::string>(kinds.begin(), kinds.end())))
      ->capture_default_str()
      ->excludes(x);
  for (const auto& [option, size] : {std::pair{"--tokens", &o.tokens}, {"--in", &o.in}, {"--out", &o.out}})
    app.add_option(option, *size, "of made matrices")
        ->check(CLI::Range(1, 1 << 16))
        ->capture_default_str()
        ->excludes(x);
}

}  // namespace

Run declare_study_schemes(CLI::App& app) {
  auto o = std::make_shared<Options>();
  declare_inputs(app, *o);
  app.add_option("--recipes", o->recipes, "FILE.json and names, by commas; else all: " + recipe_names())
      ->delimiter(',');
  app.add_option("--draws", o->draws, "seeds, over which errors and their mean are taken")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--seed", o->seed, "the first one, and that of made matrices")->capture_default_str();
  app.add_option("--csv", o->csv, "write the table there, - for stdout");
  app.add_option("--report", o->report, "write one self-contained HTML page there");
  app.add_flag("--force", o->force, "replace existing outputs");
  declare_device(app, o->device);
  app.footer(
      "Errors are relative to the exact product of the BF16 inputs, in the Frobenius norm: of a draw (root\n"
      "mean square), and of the mean over the draws, which is the bias where more draws lower it no more.\n"
      "The largest error of an element is over the largest element, bits are those stored a value of X, W\n"
      "or dY, and mult. is the multiplications of all terms over those of one plain product; transforms are\n"
      "not counted.");
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
