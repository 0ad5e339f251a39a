using System.Text.Json.Nodes;
using EphemeralFs.Tests.Integration.Deploy;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>The image as <c>deploy/csi/image/build</c> makes it, unpacked as a runtime does.</summary>
/// <param name="Root">Its root file system.</param>
/// <param name="Command">What a container runs whose pod says no command.</param>
/// <param name="Environment">NAME=VALUE.</param>
/// <param name="Uid">Whom it runs as, unless the pod says.</param>
/// <param name="Gid">His group.</param>
internal sealed record OciImage(string Root, string[] Command, string[] Environment, uint Uid, uint Gid)
{
    /// <summary>What the pods of tests run.</summary>
    private static readonly string[] Programs = [.. new[] { "cat", "cmp", "rm", "seq", "sleep" }.Select(name => $"/usr/bin/{name}")];

    /// <param name="directory">An empty one, for all of it.</param>
    /// <param name="name">What pods call it.</param>
    public static OciImage Build(string directory, string name)
    {
        // The launcher builds the program if its sources changed; a slow build is not a slow image.
        foreach (var (seconds, command) in new (int, string[])[]
        {
            (1200, [Path.Combine(Manifests.Root, "ephemeralfs"), "version"]),
            (300, ["/bin/bash", "-c", ImageScript.Build, "image", directory, Manifests.Root, name, .. Programs]),
        })
        {
            new Mount.Command(directory, seconds, command[0], command[1..])
                .With("HOME", System.Environment.GetEnvironmentVariable("HOME") ?? "/root")
                .With("PATH", System.Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin")
                .Run().MustSucceed();
        }
        string layout = Path.Combine(directory, "layout"), root = Path.Combine(directory, "root");
        string blob(JsonNode descriptor) => Path.Combine(layout, "blobs", ((string)descriptor["digest"]!).Replace(':', '/'));
        JsonNode read(string path) => JsonNode.Parse(File.ReadAllText(path))!;
        var manifest = read(blob(read(Path.Combine(layout, "index.json"))["manifests"]!.AsArray().Single()!));
        foreach (var layer in manifest["layers"]!.AsArray())
        {
            new Mount.Command(root, 60, Tool.Find("tar"), "-xzf", blob(layer!)).Run().MustSucceed();
        }
        var config = read(blob(manifest["config"]!))["config"]!;
        uint[] user = [.. ((string)config["User"]!).Split(':').Select(id => uint.Parse(id, System.Globalization.CultureInfo.InvariantCulture))];
        return new OciImage(root, Strings(config["Entrypoint"]), Strings(config["Env"]), user[0], user[1]);
    }

    private static string[] Strings(JsonNode? array) => [.. (array?.AsArray() ?? []).Select(text => (string)text!)];
}
