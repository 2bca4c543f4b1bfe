#include <memory>

#include <CLI/App.hpp>

#include "program.hpp"

namespace nvfp4::cli {
namespace {

struct Word {
  std::string text, summary;
};

/// The parser of a command ("golden make") in the tree that --help prints.
const CLI::App& parser_of(const Program& program, std::string_view name) {
  const CLI::App* app = &program.app;
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find(' ', start), name.size());
    app = app->get_subcommand(std::string(name.substr(start, end - start)));
    start = end + 1;
  }
  return *app;
}

std::vector<Word> options_of(const CLI::App& app) {
  std::vector<Word> words;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames())
      words.push_back({"--" + name, option->get_description()});
  return words;
}

std::vector<Word> commands_of(const CLI::App& app) {
  std::vector<Word> words;
  for (const CLI::App* child : app.get_subcommands({}))
    words.push_back({child->get_name(), child->get_description()});
  return words;
}

std::string joined(const std::vector<Word>& words) {
  std::string text;
  for (const Word& word : words) text += (text.empty() ? "" : " ") + word.text;
  return text;
}

/// Single-quoted for a shell.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// The first words of commands that have two.
std::vector<const CLI::App*> groups_of(const Program& program) {
  return program.app.get_subcommands([](const CLI::App* app) { return !app->get_subcommands({}).empty(); });
}

/// bash and zsh find the command in the first one or two words; everything else is a file.
std::string bash(const Program& program) {
  std::string cases, names;
  for (const CLI::App* group : groups_of(program)) {
    cases += "    '" + group->get_name() + "') words='" + joined(commands_of(*group)) + "' ;;\n";
    names += (names.empty() ? "" : "|") + group->get_name();
  }
  for (const Command& command : commands())
    cases += "    '" + std::string(command.name) + "') words='" +
             joined(options_of(parser_of(program, command.name))) + "' ;;\n";
  return "_nvfp4() {\n"
         "  local current=\"${COMP_WORDS[COMP_CWORD]}\" command=\"${COMP_WORDS[1]}\" words=''\n"
         "  [[ $command =~ ^(" +
         names +
         ")$ && $COMP_CWORD -gt 2 ]] && command+=\" ${COMP_WORDS[2]}\"\n"
         "  [[ $COMP_CWORD -eq 1 ]] && command=''\n"
         "  case \"$command\" in\n"
         "    '') words='" +
         joined(commands_of(program.app)) + ' ' + joined(options_of(program.app)) + "' ;;\n" + cases +
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "}\n"
         "complete -o default -F _nvfp4 nvfp4\n";
}

std::string zsh(const Program& program) {
  return "#compdef nvfp4\nautoload -U +X bashcompinit && bashcompinit\n" + bash(program);
}

std::string fish_words(const std::string& condition, const std::vector<Word>& words) {
  std::string text;
  for (const Word& word : words) {
    const bool option = word.text.starts_with("--");
    text += "complete -c nvfp4 -n " + quoted(condition) +
            (option ? " -l " + word.text.substr(2) : " -f -a " + word.text) + " -d " + quoted(word.summary) +
            "\n";
  }
  return text;
}

std::string fish(const Program& program) {
  std::string text = fish_words("__fish_use_subcommand", commands_of(program.app));
  for (const CLI::App* group : groups_of(program)) {
    const std::vector<Word> words = commands_of(*group);
    text += fish_words("__fish_seen_subcommand_from " + group->get_name() +
                           "; and not __fish_seen_subcommand_from " + joined(words),
                       words);
  }
  for (const Command& command : commands()) {
    std::string condition;
    for (std::size_t start = 0; start <= command.name.size();) {
      const std::size_t end = std::min(command.name.find(' ', start), command.name.size());
      condition += (condition.empty() ? "" : "; and ") +
                   ("__fish_seen_subcommand_from " + std::string(command.name.substr(start, end - start)));
      start = end + 1;
    }
    text += fish_words(condition, options_of(parser_of(program, command.name)));
  }
  return text;
}

Outcome run(const std::string& shell) {
  const Program program;
  Outcome outcome;
  if (shell == "bash")
    outcome.text = bash(program);
  else if (shell == "zsh")
    outcome.text = zsh(program);
  else if (shell == "fish")
    outcome.text = fish(program);
  else
    throw UsageError("completion " + shell + ": expected bash, zsh or fish");
  outcome.json = {{"shell", shell}, {"script", outcome.text}};
  return outcome;
}

}  // namespace

Run declare_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "bash|zsh|fish")->required();
  return [shell] { return run(*shell); };
}

}  // namespace nvfp4::cli
