using EphemeralFs.Tests.Model.Native;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>Where runs take place: a directory on a file system that is right, and the same directory of ours as each node shows it.</summary>
/// <param name="Reference">A directory on tmpfs; ordinary text.</param>
/// <param name="Subjects">One directory of the volume under test, through each node; ordinary text.</param>
/// <param name="Remount">Unmounts every subject and mounts it again, or null where that cannot be done.</param>
/// <param name="SubjectCalls">How the subject is called; the kernel, except in self-tests.</param>
public sealed record World(string Reference, IReadOnlyList<string> Subjects, Action? Remount = null, Func<Calls>? SubjectCalls = null)
{
    // Symbolic links may lead up; so many directories must be climbed before a sequence leaves its own place.
    private const string Nest = "x/y/root";

    private static int counter;

    /// <summary>Makes two new empty trees, runs, and removes them.</summary>
    public T InFreshTrees<T>(Func<Pair, T> run)
    {
        string name = $"model-{Environment.ProcessId}-{Interlocked.Increment(ref counter)}";
        string reference = Path.Combine(Reference, name);
        string[] subjects = [.. Subjects.Select(subject => Path.Combine(subject, name))];
        Directory.CreateDirectory(Path.Combine(reference, Nest));
        Directory.CreateDirectory(Path.Combine(subjects[0], Nest));
        try
        {
            using var referenceTree = new Tree(Calls.Linux, [ByteText.FromText(Path.Combine(reference, Nest))]);
            using var subjectTree = new Tree(SubjectCalls?.Invoke() ?? Calls.Linux,
                [.. subjects.Select(subject => ByteText.FromText(Path.Combine(subject, Nest)))], Remount);
            return run(new Pair(referenceTree, subjectTree, ByteText.FromText(reference), [.. subjects.Select(ByteText.FromText)]));
        }
        finally
        {
            Scratch.Remove(reference);
            Scratch.Remove(subjects[0]);
        }
    }
}

/// <summary>The two sides of a run, and the directories (byte text) that are compared whole.</summary>
public sealed record Pair(Tree Reference, Tree Subject, string ReferenceTop, IReadOnlyList<string> SubjectTops);
