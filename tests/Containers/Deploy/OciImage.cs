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
    /// <summary>
    /// Builds upon a root file system of what the manifests, the .NET runtime and the pods of tests need of a Linux. That has Debian's order of where names
    /// of hosts are looked for: the C library's own asks a name server first.
    /// </summary>
    private const string BuildScript = """
        cd "$1"; source=$2; mkdir base layout root
        dotnet=$(dirname "$(dotnet --list-runtimes | sed -n 's/^Microsoft.NETCore.App .*\[\(.*\)\]/\1/p' | tail -n 1)")
        program=$source/artifacts/launcher/$(cat "$source/artifacts/launcher/current")/ephemeralfs
        for file in /bin/sh /usr/bin/{test,install,cat,cmp,rm,seq,sleep} /usr/lib/*/lib{ssl,crypto}.so.3 "$program" "$dotnet"/Microsoft.NETCore.App/*/*.so; do
            case $file in /bin/*|/usr/bin/*|/usr/lib/*/lib*.so.3) echo "$file" ;; esac
            ldd "$file" | grep -o '/[^ ]*' || true
        done | grep -v "^$dotnet" | sort -u | xargs cp -L --parents -t base
        mkdir -p base/proc base/tmp base/etc
        echo 'hosts: files dns' >base/etc/nsswitch.conf
        "$source"/deploy/csi/image/build base image.tar "$3"
        tar -xf image.tar -C layout
        """;

    /// <param name="directory">An empty one, for all of it.</param>
    /// <param name="name">What pods call it.</param>
    public static OciImage Build(string directory, string name)
    {
        // The launcher builds the program if its sources changed; a slow build is not a slow image.
        foreach (var (seconds, command) in new (int, string[])[]
        {
            (1200, [Path.Combine(Manifests.Root, "ephemeralfs"), "version"]),
            (300, ["/bin/bash", "-euo", "pipefail", "-c", BuildScript, "image", directory, Manifests.Root, name]),
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
