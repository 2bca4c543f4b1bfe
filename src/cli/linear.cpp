#include <memory>
#include <optional>
#include <span>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/io/recipe.hpp>
#include <nvfp4/linear.hpp>

#include "device.hpp"
#include "linear_dump.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "recipe_argument.hpp"
#include "recipe_table.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string x, w, dy, out, recipe = "nvidia", dialect, state, save_state, dump, input_dtype, device = "cpu";
  FourOverSixOptions four_over_six;
  std::uint64_t seed = 0;
  bool list_recipes = false, force = false;
  io::Overwrite overwrite() const { return force ? io::Overwrite::yes : io::Overwrite::no; }
};

/// The three inputs in their files.
struct Inputs {
  io::MatrixFile x, w, dy;
  explicit Inputs(const Options& o) : x(open(o.x, o)), w(open(o.w, o)), dy(open(o.dy, o)) {}
  Json sha256() const {
    return {{"x", io::sha256(x.file.view())},
            {"w", io::sha256(w.file.view())},
            {"dy", io::sha256(dy.file.view())}};
  }

 private:
  static io::MatrixFile open(const std::string& path, const Options& o) {
    return io::open_matrix(path, {.input_dtype = dtype_named(o.input_dtype)});
  }
};

std::optional<LayerState> given_state(const Options& o) {
  if (o.state.empty()) return std::nullopt;
  const io::Bytes bytes = io::read_bytes(o.state);
  return io::parse_state({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, o.state);
}

void require_files(const Options& o) {
  if (o.x.empty() || o.w.empty() || o.dy.empty() || o.out.empty())
    throw UsageError("linear: expected --x, --w, --dy and -o, or --list-recipes (see --help)");
}

Recipe recipe_of(const Options& o) try {
  const Recipe recipe = recipe_named(o.recipe);
  return o.dialect.empty() ? recipe : with_dialect(recipe, o.dialect, o.four_over_six.parsed());
} catch (const std::invalid_argument& e) {
  throw UsageError("--dialect " + o.dialect + ": " + e.what());
}

LinearResult run_layer(const Options& o, const Recipe& recipe, const Inputs& in, const Kernels& kernels) try {
  const std::optional<LayerState> state = given_state(o);
  return linear(recipe, in.x.view, in.w.view, in.dy.view, o.seed, kernels, state ? &*state : nullptr);
} catch (const std::invalid_argument& e) {
  throw UsageError(o.x + ", " + o.w + ", " + o.dy + (o.state.empty() ? "" : ", " + o.state) + ": " +
                   e.what());
}

/// The hash is that of the file that --save-state writes; null where the recipe keeps nothing.
Json provenance(const Options& o, const Inputs& in, const LayerState& state) {
  const std::string text = io::to_json(state);
  return {{"library_version", NVFP4_VERSION},
          {"seed", o.seed},
          {"input_sha256", in.sha256()},
          {"state_sha256",
           state == LayerState{} ? Json(nullptr) : Json(io::sha256(std::as_bytes(std::span(text))))}};
}

void write(const Options& o, const LinearResult& result, const Kernels& kernels) {
  const Matrix y = converted(result.fprop.out.view(), Dtype::fp32, kernels),
               dx = converted(result.dgrad.out.view(), Dtype::fp32, kernels),
               dw = converted(result.wgrad.out.view(), Dtype::fp32, kernels);
  std::vector<io::ArrayView> arrays;
  for (const auto& [name, m] : {std::pair{"y", &y}, {"dx", &dx}, {"dw", &dw}})
    arrays.push_back({{name, io::ElementType::f32, {m->rows, m->cols}}, m->bytes});
  io::write_arrays(o.out, arrays, o.overwrite());
}

Outcome run(const Options& o) {
  if (o.list_recipes) return recipe_table();
  if (o.out == "-" && o.save_state == "-") throw UsageError("--save-state -: stdout has the output");
  require_files(o);
  const Kernels& kernels = kernels_of(o.device);
  const Recipe recipe = recipe_of(o);
  const Inputs in(o);
  std::optional<io::OutputFile> saved;
  if (!o.save_state.empty()) saved.emplace(o.save_state, o.overwrite());
  std::optional<DumpFolder> dump;
  if (!o.dump.empty()) dump.emplace(o.dump, o.overwrite());
  const LinearResult result = run_layer(o, recipe, in, kernels);
  if (saved) saved->write(io::to_json(result.state));
  if (dump)
    write_dump(*dump, result, recipe,
               {Json::parse(io::to_json(recipe)), provenance(o, in, result.state), o.seed}, kernels);
  write(o, result, kernels);
  if (saved) saved->commit();
  if (dump) dump->commit();
  Outcome outcome;
  outcome.to_stdout = o.out == "-" || o.save_state == "-";
  const std::int64_t tokens = in.x.view.rows, inputs = in.x.view.cols, outputs = in.w.view.rows;
  outcome.json = {{"output", o.out}, {"recipe", recipe.name}, {"tokens", tokens},  {"in", inputs},
                  {"out", outputs},  {"seed", o.seed},        {"device", o.device}};
  outcome.json["dump"] = o.dump.empty() ? Json(nullptr) : Json(o.dump);
  outcome.text = o.out + ": y, dx, dw of " + std::to_string(tokens) + " tokens, " + std::to_string(inputs) +
                 " to " + std::to_string(outputs) + " channels, by " + recipe.name + '\n';
  return outcome;
}

}  // namespace

Run declare_linear(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("--x", o->x, "X (tokens, in): .npy, .npz or .safetensors");
  app.add_option("--w", o->w, "W (out, in)");
  app.add_option("--dy", o->dy, "dY (tokens, out)");
  app.add_option("-o,--output", o->out, ".npz or .safetensors with y, dx, dw, float32; - for stdout (.npz)");
  app.add_option("--recipe", o->recipe, "FILE.json, or one of " + recipe_names())->capture_default_str();
  app.add_flag("--list-recipes", o->list_recipes,
               "print what each recipe does, a line a product (docs/recipes.md), and stop");
  CLI::Option* dialect =
      app.add_option(
             "--dialect", o->dialect,
             "instead of te, wherever the recipe has that and the dialect its rounding: te_4over6, ...")
          ->type_name("NAME");
  for (CLI::Option* option : declare_four_over_six(app, o->four_over_six))
    option->needs(dialect)->capture_default_str();
  app.add_option("--state", o->state,
                 "FILE.json: what schemes calibrated, in place of calibrating on X, W, dY");
  app.add_option("--save-state", o->save_state, "FILE.json: what the run calibrated, or was given");
  app.add_option("--dump", o->dump, "a folder to make: every intermediate as golden values, with a manifest");
  app.add_option("--input-dtype", o->input_dtype, "bf16: uint16 elements are BF16 bits");
  app.add_option("--seed", o->seed, "of stochastic rounding")->capture_default_str();
  app.add_flag("--force", o->force, "replace existing outputs");
  declare_device(app, o->device);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
