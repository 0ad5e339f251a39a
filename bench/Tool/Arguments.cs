using System.Globalization;

namespace EphemeralFs.Bench;

/// <summary>The command line: words, and <c>--name value</c> pairs or <c>--name</c> flags.</summary>
internal sealed class Arguments
{
    private static readonly HashSet<string> Flags = ["quick"];

    private readonly List<string> _words = [];
    private readonly Dictionary<string, string> _values = [];

    public Arguments(IEnumerable<string> arguments)
    {
        using IEnumerator<string> rest = arguments.GetEnumerator();
        while (rest.MoveNext())
        {
            string word = rest.Current;
            if (!word.StartsWith("--", StringComparison.Ordinal))
            {
                _words.Add(word);
            }
            else if (Flags.Contains(word[2..]))
            {
                _values[word[2..]] = "true";
            }
            else
            {
                _values[word[2..]] = rest.MoveNext() ? rest.Current : throw new BenchException($"{word} needs a value");
            }
        }
    }

    public string Positional(int index, string name) => index < _words.Count ? _words[index] : throw new BenchException($"{name} is missing");

    public bool Flag(string name) => _values.ContainsKey(name);

    public string? Optional(string name) => _values.TryGetValue(name, out string? value) && value.Length > 0 ? value : null;

    public string Required(string name) => Optional(name) ?? throw new BenchException($"--{name} is missing");

    public int Number(string name, int otherwise) =>
        Optional(name) is not { } text ? otherwise
        : int.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out int number) ? number
        : throw new BenchException($"--{name} {text} is not a number");

    public IReadOnlyList<string> List(string name) => Optional(name)?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [];

    public IReadOnlyList<int> Numbers(string name) => [.. List(name).Select(item => int.Parse(item, CultureInfo.InvariantCulture))];
}
