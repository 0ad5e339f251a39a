using EphemeralFs.Hosting;
using EphemeralFs.Hosting.Options;

namespace EphemeralFs.Tests.Unit.Hosting;

public sealed class OptionLoaderTests : IDisposable
{
    private static readonly OptionSpec[] s_specs =
    [
        new("capacity", OptionKind.Size, "1G", "Room"),
        new("listen", OptionKind.Endpoint, null, "Where") { Required = true },
        new("tier", OptionKind.Text, null, "Tiers") { Repeatable = true },
        new("workers", OptionKind.Integer, null, "Workers") { Check = value => value == "0" ? "is too small: give at least 1" : null },
        new("level", OptionKind.Text, "low", "Level") { Choices = ["low", "high"] },
        new("verify", OptionKind.Switch, "false", "Verify"),
    ];

    private readonly string _file = Path.GetTempFileName();

    public void Dispose() => File.Delete(_file);

    [Fact]
    public void Later_sources_win()
    {
        File.WriteAllText(_file, "capacity: 2G\nlisten: tcp:127.0.0.1:1\nlevel: high\n");

        var options = Load(
            ("EPHEMERALFS_LISTEN", "tcp:127.0.0.1:2"), ("EPHEMERALFS_CAPACITY", "3G"), flags: [("config", [_file]), ("capacity", ["4G"])]);

        Assert.Equal(4L << 30, options.Size("capacity"));
        Assert.Equal("tcp:127.0.0.1:2", options.Endpoint("listen")!.Text);
        Assert.Equal("high", options.Text("level"));
        Assert.False(options.IsOn("verify"));
        Assert.False(options.Has("workers"));
    }

    [Fact]
    public void Lists_come_from_every_source()
    {
        File.WriteAllText(_file, "listen: tcp:127.0.0.1:1\ntier:\n  - a\n  - b\n");
        Assert.Equal(["a", "b"], Load(flags: [("config", [_file])]).List("tier"));
        Assert.Equal(["c", "d"], Load(("EPHEMERALFS_TIER", "c d"), flags: [("config", [_file])]).List("tier"));
        Assert.Equal(["e"], Load(("EPHEMERALFS_TIER", "c d"), flags: [("config", [_file]), ("tier", ["e"])]).List("tier"));
    }

    [Fact]
    public void The_file_may_be_named_by_a_variable()
    {
        File.WriteAllText(_file, "listen: tcp:127.0.0.1:9\n");
        Assert.Equal("tcp:127.0.0.1:9", Load(("EPHEMERALFS_CONFIG", _file)).Text("listen"));
    }

    [Theory]
    [InlineData("capacity: lots", "capacity: 'lots' is no size")]
    [InlineData("listen: nowhere", "listen: 'nowhere' is no address")]
    [InlineData("workers: -1", "workers: '-1' is no number")]
    [InlineData("workers: 0", "workers: '0' is too small")]
    [InlineData("level: middle", "level: 'middle' must be one of low, high")]
    [InlineData("verify: perhaps", "verify: 'perhaps' must be true or false")]
    [InlineData("capacty: 1G", "unknown key 'capacty' (did you mean 'capacity'?)")]
    [InlineData("something: 1G", "unknown key 'something'")]
    [InlineData("capacity: [1G, 2G]", "capacity was given 2 times")]
    [InlineData("capacity: {a: b}", "'capacity' must be a value or a list")]
    [InlineData("- capacity", "must consist of lines")]
    [InlineData("capacity: [", "not valid YAML")]
    public void A_bad_file_is_one_clear_line(string text, string expected)
    {
        File.WriteAllText(_file, text);
        Fails(expected, [("config", [_file]), ("listen", ["tcp:127.0.0.1:1"])]);
    }

    [Fact]
    public void A_missing_file_says_so() => Fails("does not exist", [("config", ["/nowhere/file.yaml"]), ("listen", ["tcp:127.0.0.1:1"])]);

    [Fact]
    public void An_empty_file_is_fine()
    {
        File.WriteAllText(_file, "");
        Assert.Equal("1G", Load(flags: [("config", [_file]), ("listen", ["tcp:127.0.0.1:1"])]).Text("capacity"));
    }

    [Fact]
    public void A_missing_required_option_names_all_its_sources() => Fails("--listen is missing: where (flag, EPHEMERALFS_LISTEN, or 'listen:' in --config)", []);

    [Fact]
    public void A_flag_given_twice_is_an_error() => Fails("--capacity was given 2 times", [("capacity", ["1G", "2G"]), ("listen", ["tcp:127.0.0.1:1"])]);

    [Fact]
    public void An_unknown_variable_is_an_error() =>
        Fails("unknown environment variable EPHEMERALFS_CAPACTY (did you mean 'capacity'?)", [("listen", ["tcp:127.0.0.1:1"])], ("EPHEMERALFS_CAPACTY", "1"));

    [Theory]
    [InlineData("EPHEMERALFS_OTHER_ROLES_OPTION")]
    [InlineData("EPHEMERALFS_TEST_ANYTHING")]
    [InlineData("EPHEMERALFS_TRACE")]
    [InlineData("EPHEMERALFS_STATE")]
    public void Variables_of_others_are_passed_over(string name) =>
        Assert.Equal("1G", Load((name, "x"), flags: [("listen", ["tcp:127.0.0.1:1"])]).Text("capacity"));

    [Fact]
    public void A_bad_variable_is_named() => Fails("EPHEMERALFS_CAPACITY: 'x' is no size", [("listen", ["tcp:127.0.0.1:1"])], ("EPHEMERALFS_CAPACITY", "x"));

    private static RoleOptions Load(params (string Name, string Value)[] environment) => Load(environment, []);

    private static RoleOptions Load((string, string[])[] flags) => Load([], flags);

    private static RoleOptions Load((string, string) one, (string, string[])[] flags) => Load([one], flags);

    private static RoleOptions Load((string, string) one, (string, string) two, (string, string[])[] flags) => Load([one, two], flags);

    private static RoleOptions Load((string Name, string Value)[] environment, (string Name, string[] Values)[] flags) => OptionLoader.Load(
        s_specs,
        [.. s_specs, new OptionSpec("other-roles-option", OptionKind.Text, null, "Of another role")],
        environment.ToDictionary(e => e.Name, e => e.Value),
        flags.ToDictionary(f => f.Name, f => f.Values));

    private static void Fails(string expected, (string, string[])[] flags, params (string, string)[] environment)
    {
        var error = Assert.Throws<StartupException>(() => Load(environment, flags));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Usage, error.ExitCode);
        Assert.DoesNotContain('\n', error.Message);
    }
}
