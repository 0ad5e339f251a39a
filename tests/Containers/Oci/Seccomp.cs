using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace EphemeralFs.Tests.Containers.Oci;

/// <summary>The system calls that container engines leave to containers without capabilities: the profile of containers-common in the form that a runtime takes.</summary>
internal static class Seccomp
{
    private const string Profile = "/usr/share/containers/seccomp.json";

    /// <summary><c>linux.seccomp</c> of a bundle.</summary>
    public static JsonObject Default()
    {
        Assert.True(File.Exists(Profile), $"{Profile} is missing: apt-get install golang-github-containers-common");
        var profile = JsonNode.Parse(File.ReadAllText(Profile))!;
        var (name, architecture) = RuntimeInformation.OSArchitecture switch
        {
            Architecture.X64 => ("amd64", "SCMP_ARCH_X86_64"),
            Architecture.Arm64 => ("arm64", "SCMP_ARCH_AARCH64"),
            var other => throw new PlatformNotSupportedException($"no seccomp profile for {other}"),
        };
        var map = profile["archMap"]!.AsArray().Single(entry => (string)entry!["architecture"]! == architecture)!;
        return new JsonObject
        {
            ["defaultAction"] = (string)profile["defaultAction"]!,
            ["defaultErrnoRet"] = (int)profile["defaultErrnoRet"]!,
            ["architectures"] = new JsonArray([architecture, .. map["subArchitectures"]!.AsArray().Select(sub => (string)sub!)]),
            ["syscalls"] = new JsonArray([.. profile["syscalls"]!.AsArray().Where(rule => Applies(rule!, name)).Select(rule => Rule(rule!))]),
        };
    }

    /// <summary>Rules may depend on the architecture, and on capabilities: on those that are as good as root on the node, which no container here has.</summary>
    private static bool Applies(JsonNode rule, string architecture) =>
        Names(rule, "includes", "caps").Length == 0
        && (Names(rule, "includes", "arches") is { Length: 0 } || Names(rule, "includes", "arches").Contains(architecture))
        && !Names(rule, "excludes", "arches").Contains(architecture);

    private static string[] Names(JsonNode rule, string when, string what) => [.. (rule[when]?[what]?.AsArray() ?? []).Select(name => (string)name!)];

    private static JsonObject Rule(JsonNode rule)
    {
        var result = new JsonObject { ["names"] = rule["names"]!.DeepClone(), ["action"] = (string)rule["action"]! };
        foreach (string optional in new[] { "errnoRet", "args" })
        {
            if (rule[optional] is { } value)
            {
                result[optional] = value.DeepClone();
            }
        }
        return result;
    }
}
