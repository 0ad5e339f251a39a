using EphemeralFs.Tests.Model;
using EphemeralFs.Tests.Model.Running;
using EphemeralFs.Tests.Model.Trees;
using EphemeralFs.Tests.Mount.Cli;
using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>
/// One volume for all program tests, beside a directory on tmpfs. Started with the program itself, as a user would. One node has it, and a second one only for the
/// tests that look through it: with two nodes it works differently.
/// <c>EPHEMERALFS_TEST_SUBJECT</c> (and <c>EPHEMERALFS_TEST_SUBJECT_B</c>, the same directory through another node) name directories that are judged instead.
/// </summary>
public sealed class VolumeFixture : IDisposable
{
    private const string SecondNode = "second";

    private readonly ReferenceDirectory reference = null!; // set by every constructor that returns
    private readonly TestCluster? cluster;
    private readonly string tmpfs = "";
    private readonly string second;
    private bool isSecondMounted;
    private int counter;

    public VolumeFixture()
    {
        if (Environment.GetEnvironmentVariable("EPHEMERALFS_TEST_SUBJECT") is { Length: > 0 } given)
        {
            First = given;
            second = Environment.GetEnvironmentVariable("EPHEMERALFS_TEST_SUBJECT_B") is { Length: > 0 } other ? other : given;
            reference = new ReferenceDirectory();
            return;
        }
        cluster = new TestCluster("efsprog");
        First = cluster.First;
        second = cluster.MakeDirectory("b");
        tmpfs = cluster.MakeDirectory("reference");
        try
        {
            // Reading moves no access times on the volume (S82), so it must not on the reference.
            Expect.Ok(Native.Mount("tmpfs", tmpfs, "tmpfs", Native.MS_NOATIME, null));
            reference = new ReferenceDirectory(tmpfs);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The volume through the first node.</summary>
    public string First { get; }

    /// <summary>The same volume through the second node, which has it from the first time that this is asked for until <see cref="UnmountSecond"/>.</summary>
    public string Second
    {
        get
        {
            if (cluster is not null && !isSecondMounted)
            {
                cluster.Mount(second, SecondNode);
                isSecondMounted = true;
            }
            return second;
        }
    }

    /// <summary>Whether mounts are this fixture's own, so that they may be taken away and made again.</summary>
    public bool OwnsMounts => cluster is not null;

    /// <summary>New empty directories with one name on every side; removed when disposed.</summary>
    public Sides NewSides(string name)
    {
        string unique = $"{name}-{Environment.ProcessId}-{Interlocked.Increment(ref counter)}";
        return new Sides(this, unique, reference.Location);
    }

    /// <summary>The second node has the volume no longer.</summary>
    public void UnmountSecond()
    {
        if (isSecondMounted)
        {
            // Whoever looks through the machine's mounts meanwhile, as a df of tests beside these does, has it in use for a moment (umount(2), EBUSY).
            var unmounted = cluster!.Program(60, "umount", second).Run();
            Wait.For(
                () => !unmounted.Output.Contains("is in use", StringComparison.Ordinal) || (unmounted = cluster!.Program(60, "umount", second).Run()).ExitCode == 0,
                () => $"somebody keeps using {second}");
            unmounted.MustSucceed();
            isSecondMounted = false;
        }
    }

    /// <summary>Unmounts the volume from the second node and mounts it again.</summary>
    public void RemountSecond()
    {
        UnmountSecond();
        _ = Second;
    }

    /// <summary>Where model runs take place, through the given directories of the volume.</summary>
    public World World(Action? remount, params string[] subjects) => new(reference.Location, subjects, remount);

    public void Dispose()
    {
        reference?.Dispose();
        if (cluster is not null)
        {
            Native.Unmount(tmpfs, Native.MNT_DETACH);
            cluster.Dispose();
        }
    }
}

/// <summary>One test's directories: on tmpfs, on the volume, and on the volume through the second node.</summary>
public sealed class Sides : IDisposable
{
    private readonly VolumeFixture volume;
    private readonly string name;

    internal Sides(VolumeFixture volume, string name, string reference)
    {
        this.volume = volume;
        this.name = name;
        Reference = Directory.CreateDirectory(Path.Combine(reference, name)).FullName;
        Subject = Directory.CreateDirectory(Path.Combine(volume.First, name)).FullName;
    }

    public string Reference { get; }

    public string Subject { get; }

    /// <summary>Is mounted when it is asked for, until the end of the test.</summary>
    public string SubjectOnSecond => Path.Combine(volume.Second, name);

    /// <summary>Does the same in both directories, then compares them whole.</summary>
    public void Same(Action<string> work, TreeOptions? options = null)
    {
        work(Reference);
        work(Subject);
        MustBeEqual(Reference, Subject, options);
    }

    /// <summary>Runs the same script in both directories, then compares them whole, and what the scripts printed.</summary>
    public void SameScript(int seconds, string script, TreeOptions? options = null)
    {
        string expected = "", found = "";
        Same(directory =>
        {
            string output = Command.Script(directory, seconds, script).MustSucceed();
            (expected, found) = directory == Reference ? (output, "") : (expected, output);
        }, options);
        Assert.Equal(expected, found);
    }

    /// <summary>Fails with the first differences unless both trees are equal.</summary>
    public static void MustBeEqual(string reference, string subject, TreeOptions? options = null)
    {
        string differences = TreeCompare.Differences(reference, subject, options);
        Assert.True(differences.Length == 0, differences);
    }

    public void Dispose()
    {
        volume.UnmountSecond();
        Scratch.Remove(Reference);
        Scratch.Remove(Subject);
    }
}

[CollectionDefinition(Name)]
public sealed class ProgramsCollection : ICollectionFixture<VolumeFixture>
{
    public const string Name = "programs";
}
