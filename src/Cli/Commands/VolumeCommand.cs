using System.CommandLine;
using EphemeralFs.Cli.CommandLine;
using EphemeralFs.Cli.Output;
using EphemeralFs.Core;
using EphemeralFs.Hosting;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Cli.Commands;

/// <summary><c>ephemeralfs volume create|delete|list|show</c></summary>
internal static class VolumeCommand
{
    /// <summary>The bound of a request to the controller, milliseconds: longer than its own to a metadata server.</summary>
    public const int AnswerMs = 15_000;

    public static Command Create() => new("volume", "Make, delete and look at volumes") { CreateCreate(), CreateDelete(), CreateList(), CreateShow() };

    public static StartupException NoSuchVolume(string name) =>
        new($"there is no volume {name}: see 'ephemeralfs volume list', or make it with 'ephemeralfs volume create {name}'");

    public static StartupException NoAnswer(Endpoint controller, Status status, string error = "") => new(
        error.Length > 0 ? $"the controller at {controller}: {error}"
        : status == Status.Unavailable
        ? $"the controller at {controller} does not answer: see 'ephemeralfs status'; 'ephemeralfs down' and 'up' start afresh"
        : $"the controller at {controller} answered {status}");

    private static Command CreateCreate()
    {
        var name = Name();
        var size = new Option<string?>("--size") { HelpName = "SIZE", Description = "Most bytes that may be stored, such as 10G [default: no limit]" };
        var inodes = new Option<string?>("--inodes") { HelpName = "N", Description = "Most files and directories [default: no limit]" };
        var hints = new Option<string[]>("--hint") { HelpName = "KEY=VALUE", Description = "How it will be used; may be repeated: tier, concurrency, throughput, latencySensitive, lifetime, copies" };
        var command = new Command("create", "Make a volume") { name, size, inodes, hints };
        var cluster = new ClusterOptions(command, withController: true);
        command.SetAction((parsed, _) => CallAsync(parsed, cluster, async (client, controller) =>
        {
            var volume = parsed.GetValue(name)!;
            var bytes = Bytes(parsed.GetValue(size));
            var made = await client.CallAsync<AddVolumeRequest, VolumeStatus>(new(volume, bytes, Count(parsed.GetValue(inodes)), Hints(parsed.GetValue(hints) ?? [])), timeoutMs: AnswerMs).ConfigureAwait(false);
            if (!made.IsOk)
            {
                throw made.Status switch
                {
                    Status.VolumeExists => new StartupException($"volume {volume} exists with another quota or other hints: see 'ephemeralfs volume show {volume}', or choose another name"),
                    Status.NoSuchServer => new StartupException("no metadata server is alive: see 'ephemeralfs status'"),
                    _ when made.Status == Errno.EINVAL.ToStatus() => StartupException.Usage(
                        $"'{volume}' is no volume name: use 1 to 63 of a-z 0-9 . _ - beginning with a letter or digit"),
                    _ => NoAnswer(controller, made.Status, made.Error),
                };
            }

            Console.WriteLine($"volume {volume} has id {made.Value.Id}");
        }));
        return command;
    }

    private static Command CreateDelete()
    {
        var name = Name();
        var force = new Option<bool>("--force") { Description = "Also while it is mounted: its programs get errors" };
        var command = new Command("delete", "Delete a volume and everything in it") { name, force };
        var cluster = new ClusterOptions(command, withController: true);
        command.SetAction((parsed, _) => CallAsync(parsed, cluster, async (client, controller) =>
        {
            var volume = parsed.GetValue(name)!;
            await FindAsync(client, controller, volume).ConfigureAwait(false);
            var gone = await client.CallAsync<RemoveVolumeRequest, Empty>(new(volume, parsed.GetValue(force)), timeoutMs: AnswerMs).ConfigureAwait(false);
            if (!gone.IsOk)
            {
                throw gone.Status == Status.VolumeBusy
                    ? new StartupException($"volume {volume} is mounted: unmount it first (see 'ephemeralfs status'), or use --force")
                    : NoAnswer(controller, gone.Status, gone.Error);
            }

            Console.WriteLine($"volume {volume} is deleted");
        }));
        return command;
    }

    private static Command CreateList()
    {
        var json = new Option<bool>("--json") { Description = "As JSON" };
        var command = new Command("list", "List volumes") { json };
        var cluster = new ClusterOptions(command, withController: true);
        command.SetAction((parsed, _) => CallAsync(parsed, cluster, async (client, controller) =>
        {
            var found = await client.ListVolumesAsync(timeoutMs: AnswerMs).ConfigureAwait(false);
            if (!found.IsOk)
            {
                throw NoAnswer(controller, found.Status, found.Error);
            }

            var volumes = found.Value.Volumes.Select(VolumeView.From).ToArray();
            if (parsed.GetValue(json))
            {
                Console.WriteLine(StatusJson.Serialize(volumes));
            }
            else
            {
                StatusText.Volumes(volumes).Write(Console.Out);
            }
        }));
        return command;
    }

    private static Command CreateShow()
    {
        var name = Name();
        var json = new Option<bool>("--json") { Description = "As JSON" };
        var command = new Command("show", "Show one volume") { name, json };
        var cluster = new ClusterOptions(command, withController: true);
        command.SetAction((parsed, _) => CallAsync(parsed, cluster, async (client, controller) =>
        {
            var volume = VolumeView.From(await FindAsync(client, controller, parsed.GetValue(name)!).ConfigureAwait(false));
            if (parsed.GetValue(json))
            {
                Console.WriteLine(StatusJson.Serialize(volume));
            }
            else
            {
                StatusText.Volumes([volume]).Write(Console.Out);
            }
        }));
        return command;
    }

    private static Argument<string> Name() => new("name") { HelpName = "NAME", Description = "Name of the volume: a-z 0-9 . _ -" };

    private static async Task<int> CallAsync(ParseResult parsed, ClusterOptions cluster, Func<RpcClient, Endpoint, Task> work)
    {
        var controller = cluster.Controller(parsed);
        using var client = new RpcClient(controller);
        await work(client, controller).ConfigureAwait(false);
        return ExitCodes.Success;
    }

    private static async Task<VolumeStatus> FindAsync(RpcClient client, Endpoint controller, string name)
    {
        // An empty name would mean all of them.
        if (name.Length == 0)
        {
            throw NoSuchVolume("''");
        }

        var found = await client.CallAsync<GetVolumesRequest, GetVolumesReply>(new(name), timeoutMs: AnswerMs).ConfigureAwait(false);
        return found.IsOk
            ? found.Value.Volumes is [var volume] ? volume : throw NoSuchVolume(name)
            : throw NoAnswer(controller, found.Status, found.Error);
    }

    private static ulong Bytes(string? text) => text is null ? 0
        : ByteSize.TryParse(text, out var bytes) && bytes > 0 ? (ulong)bytes
        : throw StartupException.Usage($"--size: '{text}' is no size: give a number with K, M, G or T, such as 10G");

    private static string Hints(string[] pairs)
    {
        var wrong = VolumeWish.TryAdd(
            VolumeWish.None,
            pairs.Select(pair => pair.IndexOf('=', StringComparison.Ordinal) is > 0 and var at ? KeyValuePair.Create(pair[..at], pair[(at + 1)..]) : KeyValuePair.Create(pair, "")),
            out var wish);
        return wrong is null && wish is { LimitBytes: 0, LimitInodes: 0 } ? wish.Hints.ToString()
            : throw StartupException.Usage($"--hint: {wrong ?? "for size and inodes there are --size and --inodes"}");
    }

    private static ulong Count(string? text) => text is null ? 0
        : ulong.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out var count) && count > 0 ? count
        : throw StartupException.Usage($"--inodes: '{text}' is no number: give a whole number above 0");
}
