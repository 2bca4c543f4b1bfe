#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include <CLI/App.hpp>

#include "number.hpp"
#include "profile.hpp"
#include "stored_output.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string input, array, tensor, input_dtype, packed, scales, global, selected;
};

/// One output, and what was quantized where that is known.
struct Question {
  std::string name;  ///< of a golden case
  StoredOutput rows;
  std::optional<StoredOutput> columns;  ///< of the transpose
  std::optional<Matrix> x;
};

/// Rows and, where the output has them, columns by one spec.
struct Answer {
  Origin rows;
  std::optional<Origin> columns;
};

Json options_json(const Origin& o) {
  Json json{{"block", block_name(o.spec.block)}, {"tensor_scale", name(o.spec.tensor_scale)}};
  json.update(option_json(o.spec));
  if (o.rht) json.update({{"rht", 16}, {"rht_signs", name(*o.rht)}});
  if (o.transposed) json["transpose"] = true;
  if (o.packing != Packing::low_first)
    json["packing"] = o.packing == Packing::high_first ? "high_first" : "ggml";
  if (o.layout != ScaleLayout::linear) json["layout"] = name(o.layout);
  if (o.global != GlobalAs::own) json["global"] = name(o.global);
  return json;
}

Json options_json(const Answer& a) {
  Json json = options_json(a.rows);
  if (a.columns) json["columns"] = options_json(*a.columns);
  return json;
}

/// One entry a producer, or one without.
void add(Json& matches, const Answer& a) {
  Json match{{"dialect", a.rows.spec.dialect->name}, {"producer", nullptr}, {"options", options_json(a)}};
  const std::size_t before = matches.size();
  for (const Producer* p : producers_of(a.rows, a.columns ? &*a.columns : nullptr)) {
    match["producer"] = p->name;
    matches.push_back(match);
  }
  if (matches.size() == before) matches.push_back(match);
}

std::vector<Answer> answers(const Identification& rows, const std::optional<Identification>& columns) {
  std::vector<Answer> all;
  for (const Origin& r : rows.matches) {
    if (!columns) all.push_back({r, std::nullopt});
    for (const Origin& c : columns ? columns->matches : std::vector<Origin>{})
      if (!c.transposed && !r.transposed && same_arithmetic(r.spec, c.spec)) all.push_back({r, c});
  }
  return all;
}

/// What one question leaves: the answers by their rows' options. `nearest` where that is nothing.
struct Found {
  std::map<std::string, std::vector<Answer>> answers;
  Identification nearest;
};

std::string key_of(const Origin& o) { return std::string(o.spec.dialect->name) + options_json(o).dump(); }

Found ask(const Question& q) {
  Found found{{}, identify(q.x->view(), q.rows.view())};
  std::optional<Identification> columns;
  if (q.columns) columns = identify(transpose(q.x->view()).view(), q.columns->view());
  for (const Answer& a : answers(found.nearest, columns)) found.answers[key_of(a.rows)].push_back(a);
  if (found.answers.empty() && columns && !found.nearest.nearest) found.nearest = std::move(*columns);
  return found;
}

/// What two questions leave together; a question without columns says nothing of them.
std::vector<Answer> both(const std::vector<Answer>& some, const std::vector<Answer>& others) {
  if (!some.front().columns) return others;
  if (!others.front().columns) return some;
  std::vector<Answer> left;
  for (const Answer& a : some)
    if (std::ranges::any_of(others,
                            [&](const Answer& b) { return key_of(*b.columns) == key_of(*a.columns); }))
      left.push_back(a);
  return left;
}

void narrow(Found& left, const Found& found) {
  for (auto& [key, answers] : left.answers) {
    const auto other = found.answers.find(key);
    answers = other == found.answers.end() ? std::vector<Answer>{} : both(answers, other->second);
  }
  std::erase_if(left.answers, [](const auto& entry) { return entry.second.empty(); });
}

/// Of answers that part only in how the same bytes may be read, the plainest.
std::vector<Answer> plainest(const Found& found) {
  const auto arithmetic = [](const Origin& o) { return key_of({o.spec, o.transposed, o.rht}); };
  const auto effort = [](const Origin& o) {
    return std::array{static_cast<int>(o.global), static_cast<int>(o.layout), static_cast<int>(o.packing)};
  };
  std::map<std::string, Answer> best;
  for (const auto& [key, answers] : found.answers)
    for (const Answer& a : answers) {
      const std::string group = arithmetic(a.rows) + (a.columns ? arithmetic(*a.columns) : "");
      const auto [at, is_new] = best.try_emplace(group, a);
      if (!is_new && effort(a.rows) < effort(at->second.rows)) at->second = a;
    }
  std::vector<Answer> all;
  for (const auto& [group, answer] : best) all.push_back(answer);
  return all;
}

Json first_json(const Mismatch& m) {
  return {{"array", m.array}, {"row", m.row}, {"col", m.col}, {"expected", m.expected}, {"actual", m.actual}};
}

Json nearest_json(const std::string& of_case, const Identification& found) {
  if (!found.nearest) return nullptr;
  Json json{{"dialect", found.nearest->spec.dialect->name},
            {"differing_bytes", found.differing_bytes},
            {"options", options_json(*found.nearest)}};
  if (found.first) json["first"] = first_json(*found.first);
  if (!of_case.empty()) json["case"] = of_case;
  return json;
}

std::string line_of(const Json& match) {
  std::string text = "  " + match["dialect"].get<std::string>();
  if (match["producer"].is_string()) text += " (producer " + match["producer"].get<std::string>() + ")";
  for (const auto& [key, value] : match["options"].items())
    text += ", " + key + ' ' + (value.is_string() ? value.get<std::string>() : value.dump());
  return text + '\n';
}

std::string text_of(const Json& json, std::size_t questions) {
  const Json &matches = json["matches"], &nearest = json["nearest"];
  std::string text;
  if (!matches.empty()) {
    text = "every byte" + (questions > 1 ? " of " + std::to_string(questions) + " cases" : std::string()) +
           " by\n";
    for (const Json& match : matches) text += line_of(match);
    return text;
  }
  text = "no dialect gives these bytes\n";
  if (nearest.is_null()) return text + "  nor does the size fit one\n";
  text += "nearest: " + nearest["dialect"].get<std::string>() + ", " + nearest["differing_bytes"].dump() +
          " bytes differ";
  if (nearest.contains("case")) text += " in case " + nearest["case"].get<std::string>();
  if (nearest.contains("first")) {
    const Json& first = nearest["first"];
    text += "; first " + first["array"].get<std::string>() + " (" + first["row"].dump() + ", " +
            first["col"].dump() + "): expected " + hex8(first["expected"].get<std::uint32_t>()) + ", found " +
            hex8(first["actual"].get<std::uint32_t>());
  }
  return text + '\n';
}

/// All questions have one origin: what every one of them leaves.
Outcome identify_all(const std::vector<Question>& questions) {
  Found left;
  Json nearest = nullptr;
  for (const Question& q : questions) {
    Found found = ask(q);
    if (found.answers.empty() && nearest.is_null()) nearest = nearest_json(q.name, found.nearest);
    if (&q == &questions.front())
      left = std::move(found);
    else
      narrow(left, found);
  }
  if (!left.answers.empty()) nearest = nullptr;
  Outcome outcome;
  outcome.json = {{"matches", Json::array()}, {"nearest", nearest}, {"cases", questions.size()}};
  for (const Answer& answer : plainest(left)) add(outcome.json["matches"], answer);
  outcome.text = text_of(outcome.json, questions.size());
  outcome.exit_code = left.answers.empty();
  return outcome;
}

Outcome exclude(const StoredOutput& output) {
  Outcome outcome;
  outcome.json = {{"matches", Json::array()},
                  {"nearest", nullptr},
                  {"excluded", Json::array()},
                  {"possible", Json::array()}};
  const auto excluded = exclusions(output.view());
  for (const Exclusion& e : excluded) {
    outcome.json["excluded"].push_back({{"dialect", e.dialect->name}, {"why", e.why}});
    outcome.text += "not " + std::string(e.dialect->name) + ": " + e.why + '\n';
  }
  outcome.text += "left:";
  for (const Dialect* d : all_dialects()) {
    if (std::ranges::any_of(excluded, [&](const Exclusion& e) { return e.dialect == d; })) continue;
    outcome.json["possible"].push_back(d->name);
    outcome.text += ' ' + std::string(d->name);
  }
  outcome.text += "\n--input X would decide\n";
  return outcome;
}

// Reading.

Question question(const io::ArrayFile& file, const std::string& prefix) {
  Question q{"", stored_output(file, prefix), std::nullopt, std::nullopt};
  if (file.contains(prefix + "col_packed")) q.columns = stored_output(file, prefix + "col_");
  return q;
}

/// Every case of a golden file that has results, or the one that was named.
std::vector<Question> golden_questions(const Options& o, const io::ArrayFile& file) {
  if (o.input.empty()) throw UsageError(o.packed + " holds cases: --input with the same cases is needed");
  const auto inputs = io::open_arrays(o.input);
  std::vector<Question> questions;
  for (const io::GoldenCase& c : io::golden_cases(file)) {
    if (!file.contains(c.name + "/packed") || (!o.selected.empty() && c.name != o.selected)) continue;
    Question& q = questions.emplace_back(question(file, c.name + "/"));
    q.name = c.name;
    q.x = io::golden_input(*inputs, c.name);
  }
  if (questions.empty())
    throw UsageError(o.packed + ": no case" + (o.selected.empty() ? "" : " '" + o.selected + "'") +
                     " has packed codes");
  return questions;
}

std::vector<Question> questions(const Options& o) {
  const auto file = io::open_arrays(o.packed);
  const bool pair = !o.scales.empty();
  if (!pair && file->container() == "npy")
    throw UsageError(o.packed + " holds one array: --scales with the other is needed");
  if (!pair && !file->contains("packed")) return golden_questions(o, *file);
  Question q = pair ? Question{"", stored_output(o.packed, o.scales, o.global), std::nullopt, std::nullopt}
                    : question(*file, "");
  if (!o.input.empty()) q.x = io::load_matrix(o.input, {o.array, o.tensor, dtype_named(o.input_dtype)});
  return {std::move(q)};
}

void refuse_shape(const Question& q, const Options& o) {
  if (q.x && q.rows.rows != q.x->rows && q.rows.rows != q.x->cols)
    throw UsageError(o.packed + ": expected " + std::to_string(q.x->rows) + " rows as in " + o.input +
                     ", or its transpose's " + std::to_string(q.x->cols) + ", found " +
                     std::to_string(q.rows.rows));
}

Outcome run(const Options& o) {
  const std::vector<Question> asked = questions(o);
  for (const Question& q : asked) refuse_shape(q, o);
  return asked.front().x ? identify_all(asked) : exclude(asked.front().rows);
}

}  // namespace

Run declare_identify(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option(
         "--packed", o->packed,
         "packed codes as .npy; or an .npz or .safetensors with all arrays, or with those of golden cases")
      ->required();
  CLI::Option* scales = app.add_option("--scales", o->scales, "block scales as .npy, in any layout");
  app.add_option("--global", o->global, "the tensor scale as .npy, where there is one")->needs(scales);
  app.add_option("--input", o->input, "what was quantized; without it, what the output alone excludes");
  app.add_option("--array", o->array, "which array of an .npz input");
  app.add_option("--tensor", o->tensor, "which tensor of a .safetensors input");
  app.add_option("--input-dtype", o->input_dtype, "bf16: uint16 elements are BF16 bits");
  app.add_option("--case", o->selected, "one case of a golden file, else all must agree")->excludes(scales);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
