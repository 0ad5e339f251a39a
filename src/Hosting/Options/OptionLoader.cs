using System.Collections;

namespace EphemeralFs.Hosting.Options;

/// <summary>Collects the values of options from their four sources; the later ones win: defaults, file, environment, flags.</summary>
public static class OptionLoader
{
    /// <summary>Names the file; itself a flag or a variable, never a key of the file.</summary>
    public const string ConfigName = "config";

    /// <summary>Names the file when the flag does not.</summary>
    public const string ConfigVariable = OptionSpec.Prefix + "CONFIG";

    /// <summary>Variables with our prefix that are no options: switches for debugging, and what the tests and benchmarks use.</summary>
    private static readonly string[] s_otherVariables = ["TRACE", "DEBUG", "STATE", "CLUSTER", "KILL_AT", "SEED", "STEPS", "REPLAY", "SOAK_SECONDS"];

    private static readonly string[] s_otherPrefixes = ["TEST_", "BENCH_"];

    /// <summary>Loads and checks. Throws a <see cref="StartupException"/> with <see cref="ExitCodes.Usage"/> for the first thing that is wrong.</summary>
    /// <param name="specs">The options of this role.</param>
    /// <param name="known">The options of all roles: a variable that belongs to another role is passed over, one that nobody knows is an error.</param>
    /// <param name="environment">Variables.</param>
    /// <param name="flags">What the command line gave, by option name.</param>
    public static RoleOptions Load(
        IReadOnlyList<OptionSpec> specs,
        IReadOnlyList<OptionSpec> known,
        IDictionary environment,
        IReadOnlyDictionary<string, string[]> flags)
    {
        var values = new Dictionary<string, string[]>(StringComparer.Ordinal);
        foreach (var spec in specs)
        {
            if (spec.Default is { } text)
            {
                values[spec.Name] = [text];
            }
        }

        CheckVariables(environment, specs, known);
        var file = flags.TryGetValue(ConfigName, out var given) && given.Length > 0
            ? given[^1]
            : environment[ConfigVariable] as string;
        if (!string.IsNullOrEmpty(file))
        {
            foreach (var (key, found) in OptionFile.Read(file))
            {
                var spec = specs.FirstOrDefault(s => s.Name == key)
                    ?? throw StartupException.Usage($"{file}: unknown key '{key}'{Suggest(key, specs)}");
                values[key] = Checked(spec, found, $"{file}: {key}");
            }
        }

        foreach (var spec in specs)
        {
            if ((environment[spec.Variable] ?? (spec.ForeignVariable is null ? null : environment[spec.ForeignVariable])) is string { Length: > 0 } text)
            {
                values[spec.Name] = Checked(spec, spec.Repeatable ? text.Split(' ', StringSplitOptions.RemoveEmptyEntries) : [text], spec.Variable);
            }

            if (flags.TryGetValue(spec.Name, out var found) && found.Length > 0)
            {
                values[spec.Name] = Checked(spec, found, spec.Flag);
            }

            if (spec.Required && !values.ContainsKey(spec.Name))
            {
                throw StartupException.Usage($"{spec.Flag} is missing: {char.ToLowerInvariant(spec.Help[0])}{spec.Help[1..].TrimEnd('.')} (flag, {spec.Variable}, or '{spec.Name}:' in --config)");
            }
        }

        return new RoleOptions(values);
    }

    private static string[] Checked(OptionSpec spec, string[] found, string where)
    {
        if (!spec.Repeatable && found.Length > 1)
        {
            throw StartupException.Usage($"{where} was given {found.Length} times: give it once");
        }

        foreach (var value in found)
        {
            if (spec.Validate(value) is { } error)
            {
                throw StartupException.Usage($"{where}: '{value}' {error}");
            }
        }

        return found;
    }

    private static void CheckVariables(IDictionary environment, IReadOnlyList<OptionSpec> specs, IReadOnlyList<OptionSpec> known)
    {
        foreach (var name in environment.Keys.Cast<string>().Order(StringComparer.Ordinal))
        {
            if (!name.StartsWith(OptionSpec.Prefix, StringComparison.Ordinal))
            {
                continue;
            }

            var rest = name[OptionSpec.Prefix.Length..];
            if (rest == "CONFIG" || s_otherVariables.Contains(rest) || s_otherPrefixes.Any(p => rest.StartsWith(p, StringComparison.Ordinal))
                || specs.Any(s => s.Variable == name) || known.Any(s => s.Variable == name))
            {
                continue;
            }

            throw StartupException.Usage($"unknown environment variable {name}{Suggest(rest.ToLowerInvariant().Replace('_', '-'), known)}: unset it");
        }
    }

    /// <summary>"; did you mean …?" when a known name is near.</summary>
    internal static string Suggest(string key, IReadOnlyList<OptionSpec> specs)
    {
        var best = specs.Select(s => s.Name).Distinct().MinBy(name => Distance(key, name));
        return best is not null && Distance(key, best) <= 2
            ? $" (did you mean '{best}'?)"
            : "";
    }

    private static int Distance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var above = row[j];
                row[j] = Math.Min(Math.Min(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }

        return row[^1];
    }
}
