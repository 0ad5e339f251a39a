using System.CommandLine;
using EphemeralFs.Cli.Roles;
using EphemeralFs.Hosting.Options;

namespace EphemeralFs.Cli.CommandLine;

/// <summary>Makes the flags of a command from the declarations of its options, and gives their values back.</summary>
internal sealed class SpecOptions
{
    private readonly IReadOnlyList<OptionSpec> _specs;
    private readonly Dictionary<string, Option> _flags = new(StringComparer.Ordinal);

    /// <summary>Adds the flags to the command, and <c>--config</c>.</summary>
    public SpecOptions(Command command, IReadOnlyList<OptionSpec> specs)
    {
        _specs = specs;
        foreach (var spec in specs)
        {
            Option flag = spec.Kind == OptionKind.Switch
                ? new Option<bool>(spec.Flag) { Arity = ArgumentArity.ZeroOrOne, HelpName = spec.ValueName }
                : new Option<string[]>(spec.Flag) { Arity = ArgumentArity.OneOrMore, HelpName = spec.ValueName };
            flag.Description = Describe(spec);
            _flags[spec.Name] = flag;
            command.Add(flag);
        }

        var config = new Option<string[]>("--" + OptionLoader.ConfigName)
        {
            Arity = ArgumentArity.OneOrMore,
            HelpName = "FILE",
            Description = "YAML file with lines 'option: value' for any of the above; the environment and flags override it [EPHEMERALFS_CONFIG]",
        };
        _flags[OptionLoader.ConfigName] = config;
        command.Add(config);
    }

    /// <summary>The checked values from all sources.</summary>
    public RoleOptions Load(ParseResult parsed)
    {
        var given = new Dictionary<string, string[]>(StringComparer.Ordinal);
        foreach (var (name, flag) in _flags)
        {
            if (parsed.GetResult(flag) is not { Implicit: false })
            {
                continue;
            }

            given[name] = flag is Option<bool> toggle
                ? [parsed.GetValue(toggle) ? "true" : "false"]
                : parsed.GetValue((Option<string[]>)flag) ?? [];
        }

        return OptionLoader.Load(_specs, AllRoles.KnownOptions, Environment.GetEnvironmentVariables(), given);
    }

    private static string Describe(OptionSpec spec)
    {
        var notes = new List<string>();
        if (spec.Required)
        {
            notes.Add("required");
        }

        if (spec.Repeatable)
        {
            notes.Add("may be repeated");
        }

        if (spec.Default is { } value)
        {
            notes.Add($"default: {value}");
        }

        notes.Add(spec.Variable);
        return $"{spec.Help} [{string.Join("; ", notes)}]";
    }
}
