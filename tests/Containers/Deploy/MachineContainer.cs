using System.Text.Json.Nodes;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers.Deploy;

/// <summary>A container on a machine. It can be started again when it has ended, as kubelet does, with nothing of what it wrote into its root.</summary>
/// <param name="machine">Where it runs.</param>
/// <param name="id">For the runtime.</param>
/// <param name="image">What is below its root.</param>
/// <param name="config">Of its bundle.</param>
internal sealed class MachineContainer(Machine machine, string id, OciImage image, JsonObject config)
{
    /// <summary>Longer than all tests together.</summary>
    private const int Seconds = 1200;

    private const int RuntimeSeconds = 60;

    private Command.Running? running;
    private int starts;

    public void Start()
    {
        Assert.True(running is null || running.Process.HasExited, $"{id} runs already");
        running?.Dispose();
        string bundle = Path.Combine(machine.Scratch, "bundles", $"{id}-{++starts}");
        string directory(string name) => Directory.CreateDirectory(machine.Outside(Path.Combine(bundle, name))).Name;
        machine.Run(
            "/bin/sh", "-ec", "cd \"$1\"; mount -t overlay -o \"lowerdir=$2,upperdir=$3,workdir=$4\" overlay \"$5\"", "mount",
            bundle, image.Root, directory("upper"), directory("work"), directory("rootfs"));
        File.WriteAllText(machine.Outside(Path.Combine(bundle, "config.json")), config.ToJsonString());
        running = machine.Runtime(Seconds, "run", "--bundle", bundle, id).Start();
    }

    /// <summary>A failed test, with what it printed, when it has ended.</summary>
    public void MustRun() => Assert.False(running!.Process.HasExited, $"{id} has ended: {(running.Process.HasExited ? running.Wait().Describe() : "")}");

    /// <summary>Waits for a line of its output.</summary>
    public void WaitForOutput(string line) => running!.WaitForOutput(line);

    /// <summary>Sends a signal to its first process.</summary>
    public void Signal(string signal) => machine.Runtime(RuntimeSeconds, "kill", id, signal).Run().MustSucceed();

    /// <summary>Waits for its end.</summary>
    public CommandResult End(int seconds)
    {
        Assert.True(running!.Process.WaitForExit(TimeSpan.FromSeconds(seconds)), $"{id} has not ended within {seconds} s");
        return running.Wait();
    }

    /// <summary>Runs one more command in it, as kubectl exec does.</summary>
    public CommandResult Execute(params string[] command) => machine.Runtime(RuntimeSeconds, ["exec", id, .. command]).Run();
}
